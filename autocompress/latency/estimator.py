"""Prices operators and whole models on one device, runtime and thread count.  No road returns zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from autocompress.graph.signature import OpSignature
from autocompress.latency.composition import Composition
from autocompress.latency.predictor import Predictors
from autocompress.latency.record import LatencyRecord
from autocompress.latency.roofline import Roofline
from autocompress.latency.table import LatencyTable
from autocompress.measurement import EstimatedLatency, Interval, MeasuredLatency
from autocompress.runtimes.protocol import ExecutedOp

TABLE, FOREST, BOUND = "table", "forest", "bound"
# Roofline bounds of operators that nothing knows: most take 1.5 to 3 times the bound, few more than 10 times.
_BOUND_FACTOR, _BOUND_LOW, _BOUND_HIGH = 2.0, 0.5, 10.0
_TABLE_ERROR = 0.04  # an operator measured again, in another model, differs by this much (90 %)
_SHARED = 0.5  # share of the operators' errors that all have in common and that does not average out


@dataclass(frozen=True)
class OpPrice:
    """Price of one operator within a model, with its share of what the model costs besides.

    Attributes:
        latency_us: microseconds.
        low_us: lower end of the 90 % interval.
        high_us: upper end.
        source: "table" (measured), "forest" (predicted) or "bound" (from the roofline, for want of anything better).
    """

    latency_us: float
    low_us: float
    high_us: float
    source: str


@dataclass(frozen=True)
class OpEstimate:
    """One executed operator with its price, for tables and explanations.

    Attributes:
        name: the runtime's name for the operator.
        op_type: as executed.
        price: what it costs.
        share: part of the model's estimated time, in [0, 1].
    """

    name: str
    op_type: str
    price: OpPrice
    share: float


class LatencyEstimator:
    """Table first, forest second, stated bound last.

    Args:
        table: measured operators; None where there are none.
        predictors: forests for the rest; None where there are none.
        composition: how operators add up; that of the predictors when left out.
        roofline: constants for bounds; those of the table or the predictors when left out.
    """

    def __init__(
        self,
        table: LatencyTable | None,
        predictors: Predictors | None = None,
        *,
        composition: Composition | None = None,
        roofline: Roofline | None = None,
    ) -> None:
        self.table = table
        self.predictors = predictors
        self.composition = composition or (predictors.composition if predictors else Composition())
        self.roofline = roofline or _roofline(table, predictors)
        self._alone: dict[str, OpPrice] = {}  # by signature key

    def price(self, signatures: Sequence[OpSignature]) -> list[OpPrice]:
        """Prices the operators of one model.

        The sum of all prices is the model's estimate less the cost of a run (``composition.per_model_us``): each
        operator carries its node's cost and its part of the cost of memory.

        Args:
            signatures: all operators of a model, or some of them.
        """
        self._price_alone(signatures)
        terms = self.composition
        prices = []
        for signature, memory_us in zip(signatures, terms.memory_us(signatures), strict=True):
            alone = self._alone[signature.key]
            fixed_us = terms.per_node_us + memory_us
            prices.append(
                OpPrice(
                    alone.latency_us * terms.scale + fixed_us,
                    alone.low_us * terms.scale + fixed_us,
                    alone.high_us * terms.scale + fixed_us,
                    alone.source,
                )
            )
        return prices

    def estimate(self, ops: Sequence[ExecutedOp]) -> EstimatedLatency:
        """Estimates a whole model; every operator is priced."""
        return self.compose(self.price([op.signature for op in ops]))

    def explain(self, ops: Sequence[ExecutedOp]) -> list[OpEstimate]:
        """The operators with their prices and shares, most expensive first."""
        prices = self.price([op.signature for op in ops])
        total = self.compose(prices).latency_ms * 1e3
        rows = [
            OpEstimate(op.name, op.signature.op_type, price, price.latency_us / total)
            for op, price in zip(ops, prices, strict=True)
        ]
        return sorted(rows, key=lambda row: -row.price.latency_us)

    def compose(self, prices: Sequence[OpPrice]) -> EstimatedLatency:
        """A model's estimate from the prices of its operators.

        The interval joins, in quadrature, the error of the composition and that of the operators; of the latter a
        part is common to all (the same forest, the same mood of the machine) and adds up, the rest averages out.
        """
        total_us = sum(p.latency_us for p in prices) + self.composition.per_model_us
        low_us = total_us - self._half_us(total_us, [p.latency_us - p.low_us for p in prices])
        high_us = total_us + self._half_us(total_us, [p.high_us - p.latency_us for p in prices])
        exact_us = sum(p.latency_us for p in prices if p.source == TABLE)
        return EstimatedLatency(
            latency_ms=total_us / 1e3,
            interval90_ms=Interval(max(low_us, 0.0) / 1e3, high_us / 1e3),
            coverage=exact_us / max(sum(p.latency_us for p in prices), 1e-12) if prices else 0.0,
            nodes=len(prices),
        )

    def unknown(self, ops: Sequence[ExecutedOp]) -> list[ExecutedOp]:
        """Operators that only a bound prices; their estimate deserves a warning."""
        self._price_alone([op.signature for op in ops])
        return [op for op in ops if self._alone[op.signature.key].source == BOUND]

    def _half_us(self, total_us: float, halves: Sequence[float]) -> float:
        common = _SHARED * sum(halves)
        own = (1 - _SHARED) ** 2 * sum(h * h for h in halves)
        composed = self.composition.relative_error90 * total_us
        return float((common**2 + own + composed**2) ** 0.5)

    def _price_alone(self, signatures: Sequence[OpSignature]) -> None:
        missing = {s.key: s for s in signatures if s.key not in self._alone}.values()
        guessed = []
        for signature in missing:
            record = self.table.find(signature) if self.table is not None else None
            if record is not None:
                self._alone[signature.key] = _measured_price(record)
            else:
                guessed.append(signature)
        predictions = self.predictors.predict(guessed) if self.predictors else [None] * len(guessed)
        for signature, prediction in zip(guessed, predictions, strict=True):
            if prediction is not None:
                self._alone[signature.key] = OpPrice(
                    prediction.latency_us, prediction.low_us, prediction.high_us, FOREST
                )
            else:
                bound = self.roofline.bound_us(signature)
                self._alone[signature.key] = OpPrice(
                    bound * _BOUND_FACTOR, bound * _BOUND_LOW, bound * _BOUND_HIGH, BOUND
                )


def re_anchor(estimated: EstimatedLatency, factor: float, *, relative_error90: float) -> EstimatedLatency:
    """An estimate corrected by what measurements of other candidates of the same model said.

    Args:
        estimated: the estimate.
        factor: measured over estimated, from ``anchor_factor``.
        relative_error90: how far off anchored estimates of this model were; replaces a wider interval.
    """
    latency_ms = estimated.latency_ms * factor
    low = max(estimated.interval90_ms.low * factor, latency_ms * (1 - relative_error90))
    high = min(estimated.interval90_ms.high * factor, latency_ms * (1 + relative_error90))
    return replace(
        estimated, latency_ms=latency_ms, interval90_ms=Interval(min(low, latency_ms), max(high, latency_ms))
    )


def anchor_factor(pairs: Sequence[tuple[EstimatedLatency, MeasuredLatency]]) -> float:
    """Measured over estimated: the geometric mean over anchors; 1.0 without any."""
    if not pairs:
        return 1.0
    product = 1.0
    for estimated, measured in pairs:
        product *= measured.latency_ms / estimated.latency_ms
    return float(product ** (1 / len(pairs)))


def _measured_price(record: LatencyRecord) -> OpPrice:
    noise = min(record.spread_us / max(record.repeats, 1) ** 0.5, 0.2 * record.minimum_us)
    half = _TABLE_ERROR * record.minimum_us + noise
    return OpPrice(record.minimum_us, max(record.minimum_us - half, 0.0), record.minimum_us + half, TABLE)


def _roofline(table: LatencyTable | None, predictors: Predictors | None) -> Roofline:
    if table is not None and table.header.constants:
        return Roofline.from_constants(table.header.constants)
    if predictors is not None:
        return predictors.roofline
    return _SLOW_DEVICE


_SLOW_DEVICE = Roofline(float_gmacs=20.0, int8_gmacs=40.0, gbytes_per_s=10.0, launch_us=1.0)

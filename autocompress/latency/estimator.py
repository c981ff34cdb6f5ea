"""Prices operators and whole models on one device, runtime and thread count.  No road returns zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from autocompress.graph.signature import OpSignature
from autocompress.latency.anchoring import AnchorPrior, Candidate
from autocompress.latency.composition import KINDS, Composition, cold_share, kind_of, streamed_mbytes
from autocompress.latency.intervals import ModelIntervals, relative_sigma, sigma_above, sigma_below
from autocompress.latency.predictor import Prediction, Predictors
from autocompress.latency.record import LatencyRecord
from autocompress.latency.roofline import Roofline
from autocompress.latency.sparse_twins import dense_twin, measured_twin, relative_to
from autocompress.latency.table import LatencyTable
from autocompress.measurement import EstimatedLatency, Interval
from autocompress.runtimes.protocol import ExecutedOp

TABLE, FOREST, BOUND = "table", "forest", "bound"
# Roofline bounds of operators that nothing knows: most take 1.5 to 3 times the bound, few more than 10 times.
_BOUND_FACTOR, _BOUND_LOW, _BOUND_HIGH = 2.0, 0.5, 10.0
_TABLE_ERROR = 0.04  # an operator measured again, in another model, differs by this much (90 %)
FloatArray = npt.NDArray[np.float64]


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


class OperatorPredictor(Protocol):
    """What prices operators that a table lacks."""

    def predict(self, signatures: Sequence[OpSignature]) -> Sequence[Prediction | None]:
        """Predictions in the given order; None where it knows nothing of the kind."""
        ...


class LatencyEstimator:
    """Table first, forest second, stated bound last.

    Args:
        table: measured operators; None where there are none.
        predictors: forests for the rest; None where there are none.
        composition: how operators add up; that of the predictors when left out.
        intervals: how far off estimates may be; those of the predictors when left out.
        roofline: constants for bounds; those of the table or the predictors when left out.
    """

    def __init__(
        self,
        table: LatencyTable | None,
        predictors: OperatorPredictor | None = None,
        *,
        composition: Composition | None = None,
        intervals: ModelIntervals | None = None,
        roofline: Roofline | None = None,
    ) -> None:
        self.table = table
        self.predictors = predictors
        fitted = predictors if isinstance(predictors, Predictors) else None
        self.composition = composition or (fitted.composition if fitted else Composition())
        self.intervals = intervals or (fitted.intervals if fitted else ModelIntervals())
        self.anchoring = fitted.anchoring if fitted else AnchorPrior()
        self.roofline = roofline or _roofline(table, fitted)
        self._rows: dict[str, int] = {}  # signature key -> row of the arrays below
        self._prices: list[OpPrice] = []  # without the cost of cold weights, which depends on the whole model
        self._kinds: list[str] = []
        self._numbers = np.zeros((0, _COLUMNS))

    def price(self, signatures: Sequence[OpSignature]) -> list[OpPrice]:
        """Prices the operators of one model.

        The sum of all prices is the model's estimate less the cost of a run (``composition.per_model_us``): each
        operator carries its node's cost and its part of the cost of memory.

        Args:
            signatures: all operators of a model, or some of them.
        """
        rows = self._rows_of(signatures)
        sizes = self._numbers[rows, _STREAMED]
        cold_us = cold_share(float(sizes.sum()), self.composition.cached_mbytes) * self.composition.per_mbyte_us * sizes
        return [
            OpPrice(p.latency_us + us, p.low_us + us, p.high_us + us, p.source)
            for p, us in zip((self._prices[row] for row in rows), cold_us.tolist(), strict=True)
        ]

    def estimate(self, ops: Sequence[ExecutedOp]) -> EstimatedLatency:
        """Estimates a whole model; every operator is priced."""
        return self._compose(self._rows_of([op.signature for op in ops]))

    def estimate_many(self, models: Sequence[Sequence[ExecutedOp]]) -> list[EstimatedLatency]:
        """Estimates many models; what forests must say of them all is asked at once."""
        rows = self._rows_of([op.signature for ops in models for op in ops])
        ends = np.cumsum([len(ops) for ops in models]).tolist()
        return [self._compose(rows[start:end]) for start, end in zip([0, *ends], ends, strict=False)]

    def candidate(self, ops: Sequence[ExecutedOp]) -> Candidate:
        """A whole model's estimate with the shares of its kinds of operators, for anchoring."""
        rows = self._rows_of([op.signature for op in ops])
        kind_us = dict.fromkeys(KINDS, 0.0)
        for row in rows:
            kind_us[self._kinds[row]] += self._prices[row].latency_us
        total_us = max(sum(kind_us.values()), 1e-12)
        return Candidate(self._compose(rows), {kind: us / total_us for kind, us in kind_us.items()})

    def explain(self, ops: Sequence[ExecutedOp]) -> list[OpEstimate]:
        """The operators with their prices and shares, most expensive first."""
        prices = self.price([op.signature for op in ops])
        total = self.estimate(ops).latency_ms * 1e3
        rows = [
            OpEstimate(op.name, op.signature.op_type, price, price.latency_us / total)
            for op, price in zip(ops, prices, strict=True)
        ]
        return sorted(rows, key=lambda row: -row.price.latency_us)

    def unknown(self, ops: Sequence[ExecutedOp]) -> list[ExecutedOp]:
        """Operators that only a bound prices; their estimate deserves a warning."""
        rows = self._rows_of([op.signature for op in ops])
        return [op for op, row in zip(ops, rows, strict=True) if self._prices[row].source == BOUND]

    def _compose(self, rows: Sequence[int]) -> EstimatedLatency:
        """A model's estimate from its operators; see ``intervals.py`` for the interval."""
        terms, numbers = self.composition, self._numbers[rows]
        latency_us, low_us, low_squares, high_us, high_squares, streamed, exact_us = numbers.sum(axis=0).tolist()
        operators_us = latency_us + cold_share(streamed, terms.cached_mbytes) * terms.per_mbyte_us * streamed
        total_us = operators_us + terms.per_model_us
        coverage = min(exact_us / latency_us, 1.0) if latency_us > 0 else 0.0
        error90 = terms.relative_error90
        below = sigma_below(relative_sigma(total_us, low_us, low_squares, error90))
        above = sigma_above(relative_sigma(total_us, high_us, high_squares, error90))
        down, up = (self.intervals.half_log(sigma, coverage) for sigma in (below, above))
        return EstimatedLatency(
            latency_ms=total_us / 1e3,
            interval90_ms=Interval(total_us / 1e3 * math.exp(-down), total_us / 1e3 * math.exp(up)),
            coverage=coverage,
            nodes=len(rows),
        )

    def _rows_of(self, signatures: Sequence[OpSignature]) -> list[int]:
        try:
            return [self._rows[signature.key] for signature in signatures]
        except KeyError:
            self._add(list({s.key: s for s in signatures if s.key not in self._rows}.values()))
            return [self._rows[signature.key] for signature in signatures]

    def _add(self, signatures: Sequence[OpSignature]) -> None:
        """Prices operators that were not asked for before."""
        records = [self.table.find(s) if self.table is not None else None for s in signatures]
        guessed = [s for s, record in zip(signatures, records, strict=True) if record is None]
        forests = iter(self._predicted(guessed))
        numbers = []
        for signature, record in zip(signatures, records, strict=True):
            if record is not None:
                alone = _measured_price(record)
            else:
                predicted = next(forests)
                alone = (
                    OpPrice(predicted.latency_us, predicted.low_us, predicted.high_us, FOREST)
                    if predicted is not None
                    else _bound_price(self.roofline.bound_us(signature))
                )
            price = self._within(signature, alone)
            down, up = price.latency_us - price.low_us, price.high_us - price.latency_us
            exact_us = price.latency_us if price.source == TABLE else 0.0
            numbers.append([price.latency_us, down, down * down, up, up * up, streamed_mbytes(signature), exact_us])
            self._rows[signature.key] = len(self._prices)
            self._prices.append(price)
            self._kinds.append(kind_of(signature))
        self._numbers = np.vstack([self._numbers, np.asarray(numbers, np.float64).reshape(-1, _COLUMNS)])

    def _predicted(self, signatures: Sequence[OpSignature]) -> list[Prediction | None]:
        """What forests say; of sparse operators whose dense twin was measured, what that row and they say together."""
        rows = {i: row for i, s in enumerate(signatures) if (row := measured_twin(self.table, s)) is not None}
        asked = [*signatures, *(dense_twin(signatures[i]) for i in rows)]
        found = list(self.predictors.predict(asked)) if self.predictors else [None] * len(asked)
        twins = dict(zip(rows, found[len(signatures) :], strict=True))
        return [relative_to(rows[i], found[i], twins[i]) if i in rows else found[i] for i in range(len(signatures))]

    def _within(self, signature: OpSignature, alone: OpPrice) -> OpPrice:
        """The price of an operator among others, cold weights left out."""
        scale, fixed_us = self.composition.scale(signature), self.composition.fixed_us(signature)
        return OpPrice(
            alone.latency_us * scale + fixed_us,
            alone.low_us * scale + fixed_us,
            alone.high_us * scale + fixed_us,
            alone.source,
        )


_STREAMED, _COLUMNS = 5, 7


def _measured_price(record: LatencyRecord) -> OpPrice:
    noise = min(record.spread_us / max(record.repeats, 1) ** 0.5, 0.2 * record.minimum_us)
    half = _TABLE_ERROR * record.minimum_us + noise
    return OpPrice(record.minimum_us, max(record.minimum_us - half, 0.0), record.minimum_us + half, TABLE)


def _bound_price(bound_us: float) -> OpPrice:
    return OpPrice(bound_us * _BOUND_FACTOR, bound_us * _BOUND_LOW, bound_us * _BOUND_HIGH, BOUND)


def _roofline(table: LatencyTable | None, predictors: Predictors | None) -> Roofline:
    if table is not None and table.header.constants:
        return Roofline.from_constants(table.header.constants)
    if predictors is not None:
        return predictors.roofline
    return _SLOW_DEVICE


_SLOW_DEVICE = Roofline(float_gmacs=20.0, int8_gmacs=40.0, gbytes_per_s=10.0, launch_us=1.0)

"""An executed graph with a price on every operator, and who feeds whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.estimator import LatencyEstimator, OpPrice
from autocompress.latency.families import family_of
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.runtimes.work import multiply_adds

KERNEL, CONVERSION, LAYOUT, OTHER = "kernel", "conversion", "layout", "other"
INTEGERS = frozenset({"int8", "uint8", "int4", "uint4"})
_FLOATS = frozenset({"float32", "float16", "bfloat16", "float64"})


@dataclass(frozen=True)
class PricedOp:
    """One executed operator.

    Attributes:
        position: in execution order.
        op: the operator.
        price: what it costs within the model.
        role: "kernel" (it multiplies and adds), "conversion" (between integers and floats), "layout" (it only reorders
            memory) or "other".
        integer: whether it computes on 8-bit integers.
        family: kind of operator, arithmetic left out ("conv_depthwise", "elementwise", ...).
        macs: multiply-adds.
    """

    position: int
    op: ExecutedOp
    price: OpPrice
    role: str
    integer: bool
    family: str
    macs: int

    @property
    def signature(self) -> OpSignature:
        """What determines its time."""
        return self.op.signature


class PricedGraph:
    """The executed graph of one model.

    Args:
        ops: as executed.
        estimator: prices them.

    Attributes:
        ops: in execution order.
        total_us: estimated time of the model.
    """

    def __init__(self, ops: Sequence[ExecutedOp], estimator: LatencyEstimator) -> None:
        prices = estimator.price([op.signature for op in ops])
        self.ops = tuple(_priced(i, op, price) for i, (op, price) in enumerate(zip(ops, prices, strict=True)))
        self.estimate = estimator.estimate(ops)
        self.total_us = self.estimate.latency_ms * 1e3

    @cached_property
    def _writers(self) -> dict[str, PricedOp]:
        return {name: found for found in self.ops for name in found.op.writes}

    @cached_property
    def _readers(self) -> dict[str, list[PricedOp]]:
        readers: dict[str, list[PricedOp]] = {}
        for found in self.ops:
            for name in dict.fromkeys(found.op.reads):
                readers.setdefault(name, []).append(found)
        return readers

    def feeding(self, op: PricedOp) -> list[PricedOp]:
        """Operators whose results one reads, each once."""
        found = {w.position: w for name in op.op.reads if (w := self._writers.get(name)) is not None}
        return list(found.values())

    def reading(self, op: PricedOp) -> list[PricedOp]:
        """Operators that read what one writes, each once."""
        found = {r.position: r for name in op.op.writes for r in self._readers.get(name, ())}
        return list(found.values())

    def before(self, op: PricedOp) -> Iterator[PricedOp]:
        """What comes before an operator, the nearest first."""
        return self._walk(op, self.feeding)

    def after(self, op: PricedOp) -> Iterator[PricedOp]:
        """What comes after an operator, the nearest first."""
        return self._walk(op, self.reading)

    @staticmethod
    def _walk(start: PricedOp, step: object) -> Iterator[PricedOp]:
        assert callable(step)
        seen, waiting = {start.position}, list(step(start))
        while waiting:
            found = waiting.pop(0)
            if found.position not in seen:
                seen.add(found.position)
                yield found
                waiting += step(found)


def _priced(position: int, op: ExecutedOp, price: OpPrice) -> PricedOp:
    signature = op.signature
    macs, family = multiply_adds(signature), family_of(signature)
    role = KERNEL if macs else CONVERSION if _converts(signature) else LAYOUT if family == "layout" else OTHER
    stem = family.removesuffix("_int8").removesuffix("_float")
    return PricedOp(position, op, price, role, _is_integer(signature, role), stem, macs)


def activations(signature: OpSignature) -> list[TensorType]:
    """Operands that are no constants."""
    return [t for t in signature.inputs if t is not None and not t.constant]


def converted(signature: OpSignature) -> TensorType | None:
    """The one operand that a conversion would convert: the only activation, else, without any, the first constant."""
    given = activations(signature)
    if not given:
        return signature.inputs[0] if signature.inputs else None
    return given[0] if len(given) == 1 else None


def _converts(signature: OpSignature) -> bool:
    """Whether all that an operator does is to turn integers into floats or floats into integers."""
    source = converted(signature)
    if source is None or not signature.outputs:
        return False
    result = signature.outputs[0]
    # The bias of a quantized model is int32.
    integers = INTEGERS | {"int32"} if source.constant else INTEGERS
    crosses = (source.dtype in integers and result.dtype in _FLOATS) or (
        source.dtype in _FLOATS and result.dtype in INTEGERS
    )
    return crosses and source.elements == result.elements and "fused" not in dict(signature.attributes)


def _is_integer(signature: OpSignature, role: str) -> bool:
    given = activations(signature)
    if role == CONVERSION or not given:
        return False
    weights = [t for t in signature.inputs if t is not None and t.constant and len(t.shape) >= 2]
    # A dynamic integer kernel reads floats and quantizes them itself.
    return given[0].dtype in INTEGERS or (role == KERNEL and any(w.dtype in ("int8", "uint8") for w in weights))

"""A lower bound on an operator's time from four constants of the device.

    seconds = launch + max(multiply-adds / throughput of its dtype, bytes / bandwidth)

(Williams, Waterman, Patterson, "Roofline", CACM 2009).  Predictors learn the ratio of the true time to this bound,
which varies far less than the time; an operator that nothing else knows is priced by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from autocompress.errors import TableError
from autocompress.graph.signature import OpSignature
from autocompress.latency.reference_work import elementwise, float_product, integer_product
from autocompress.latency.slope import time_operator
from autocompress.runtimes.protocol import InPlaceRuntime, Runtime
from autocompress.runtimes.work import bytes_touched, multiply_adds

_INTEGER_DTYPES = frozenset({"int8", "uint8"})
_MATRIX = 384
_VECTOR = 1 << 22
_ATTEMPTS, _SLICE_S = 3, 0.05
_SHORTEST_LAUNCH_US = 0.05  # an account in microseconds sees nothing of an operator that does nothing


@dataclass(frozen=True)
class Roofline:
    """Constants of one device, runtime and thread count.

    Attributes:
        float_gmacs: thousand million float32 multiply-adds per second.
        int8_gmacs: thousand million 8-bit multiply-adds per second.
        gbytes_per_s: thousand million bytes per second, read and written.
        launch_us: microseconds that the smallest operator takes.
    """

    float_gmacs: float
    int8_gmacs: float
    gbytes_per_s: float
    launch_us: float

    def bound_us(self, signature: OpSignature) -> float:
        """The lower bound of one operator, in microseconds."""
        throughput = self.int8_gmacs if is_integer(signature) else self.float_gmacs
        compute_us = multiply_adds(signature) / (throughput * 1e3)
        memory_us = bytes_touched(signature) / (self.gbytes_per_s * 1e3)
        return self.launch_us + max(compute_us, memory_us)

    def to_constants(self) -> dict[str, float]:
        """As it stands in a table's header."""
        return {name: float(f"{value:.4g}") for name, value in asdict(self).items()}

    @classmethod
    def from_constants(cls, constants: Mapping[str, float]) -> Roofline:
        """Inverse of ``to_constants``.

        Raises:
            TableError: when a constant is missing or not positive.
        """
        try:
            roofline = cls(**constants)
        except TypeError as error:
            raise TableError(
                "the latency table's header lacks the device's roofline constants; profile again"
            ) from error
        for name, value in asdict(roofline).items():
            if not value > 0:
                raise TableError(f"the latency table's header has {name} = {value}; it must be positive: profile again")
        return roofline


def is_integer(signature: OpSignature) -> bool:
    """Whether the operator computes on 8-bit integers."""
    first = signature.inputs[0] if signature.inputs else None
    return (first is not None and first.dtype in _INTEGER_DTYPES) or signature.op_type == "DynamicQuantizeMatMul"


def measure_roofline(runtime: Runtime, threads: int = 1) -> Roofline:
    """Measures the constants with four small models; takes about a second.

    Raises:
        RuntimeFailure: when the runtime cannot run them.
    """
    integer_us = _largest_us(runtime, threads, integer_product(_MATRIX), (_MATRIX, _MATRIX))
    launch_us = _largest_us(runtime, threads, elementwise(1), (1,))
    copy_us = _largest_us(runtime, threads, elementwise(_VECTOR), (_VECTOR,))
    return Roofline(
        float_gmacs=measure_float_gmacs(runtime, threads),
        int8_gmacs=_MATRIX**3 / integer_us / 1e3,
        gbytes_per_s=8 * _VECTOR / copy_us / 1e3,
        launch_us=max(launch_us, _SHORTEST_LAUNCH_US),
    )


def measure_float_gmacs(runtime: Runtime, threads: int = 1) -> float:
    """Measures ``float_gmacs`` alone: the speed that a device is recognized by later.

    Raises:
        RuntimeFailure: when the runtime cannot run a matrix product.
    """
    return _MATRIX**3 / _largest_us(runtime, threads, float_product(_MATRIX), (_MATRIX, _MATRIX)) / 1e3


def _largest_us(runtime: Runtime, threads: int, model: bytes, shape: tuple[int, ...]) -> float:
    """Microseconds of the operator of a model that touches most memory."""
    feeds = {"x": np.ones(shape, np.float32)}
    if isinstance(runtime, InPlaceRuntime):
        accounts = [runtime.time_in_place(model, feeds, threads=threads, budget_s=_SLICE_S) for _ in range(_ATTEMPTS)]
        largest = [max(account, key=lambda time: bytes_touched(time.op.signature)) for account in accounts]
        return max(min(time.latency_us for time in largest), _SHORTEST_LAUNCH_US)
    ops = runtime.executed_ops(model, feeds, threads=threads)
    largest_op = max(ops, key=lambda op: bytes_touched(op.signature))
    timings = [time_operator(runtime, largest_op, threads=threads) for _ in range(_ATTEMPTS)]
    return min(timings, key=lambda timing: (timing.invalid_reason is not None, timing.minimum_us)).minimum_us

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
from autocompress.runtimes.protocol import Runtime
from autocompress.runtimes.work import bytes_touched, multiply_adds

_INTEGER_DTYPES = frozenset({"int8", "uint8"})
_MATRIX = 384
_VECTOR = 1 << 22


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
    products = _MATRIX**3

    def microseconds(model: bytes, feeds: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> float:
        ops = runtime.executed_ops(model, feeds, threads=threads)
        timing = time_operator(runtime, max(ops, key=lambda op: bytes_touched(op.signature)), threads=threads)
        return timing.minimum_us

    ones = np.ones((_MATRIX, _MATRIX), np.float32)
    launch_us = microseconds(elementwise(1), {"x": np.ones(1, np.float32)})
    return Roofline(
        float_gmacs=products / microseconds(float_product(_MATRIX), {"x": ones}) / 1e3,
        int8_gmacs=products / microseconds(integer_product(_MATRIX), {"x": ones.astype(np.uint8)}) / 1e3,
        gbytes_per_s=8 * _VECTOR / microseconds(elementwise(_VECTOR), {"x": np.ones(_VECTOR, np.float32)}) / 1e3,
        launch_us=max(launch_us, 0.01),
    )

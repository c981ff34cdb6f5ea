"""Sums of float32 numbers without any rounding, so that order and grouping cannot change them."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Every finite float32 is an integer multiple of 2**-149, the smallest denormal.
_UNIT_EXPONENT = -149
# 2**128 * 2**149 needs 277 bits and a sign; the rest is room for 2**42 terms.
BYTES = 40


@dataclass(frozen=True)
class ExactSum:
    """A sum of float32 numbers, as an integer count of the smallest float32.

    Attributes:
        units: the sum divided by 2**-149.
    """

    units: int = 0

    def plus(self, value: float) -> ExactSum:
        """The sum with one more finite float32 number."""
        return ExactSum(self.units + int(math.ldexp(value, -_UNIT_EXPONENT)))

    def merge(self, other: ExactSum) -> ExactSum:
        """The sum of both."""
        return ExactSum(self.units + other.units)

    def mean(self, count: int) -> float:
        """The sum divided by ``count``, correctly rounded."""
        return self.units / (count << -_UNIT_EXPONENT)

    def to_bytes(self) -> bytes:
        """Fixed-length form; ``from_bytes`` is its inverse."""
        return self.units.to_bytes(BYTES, "little", signed=True)

    @classmethod
    def from_bytes(cls, data: bytes) -> ExactSum:
        """Rebuilds a sum from ``to_bytes`` output."""
        return cls(int.from_bytes(data, "little", signed=True))

"""What a range algorithm is asked for, and what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autocompress.calibration.statistics import TensorStatistics
from autocompress.errors import ConfigError, DataError


@dataclass(frozen=True)
class TensorRange:
    """The closed interval of real numbers that a quantized tensor represents; it always includes zero.

    Attributes:
        low: lower end, at most 0.
        high: upper end, at least 0.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise DataError(f"a range must be finite, not [{self.low}, {self.high}]")
        if self.low > 0.0 or self.high < 0.0:
            raise DataError(f"a range must include zero, which [{self.low}, {self.high}] does not")


@dataclass(frozen=True)
class GridForm:
    """The kind of integer grid that a range is sought for.

    Attributes:
        bits: bits of the integers, 2 to 16.
        symmetric: whether the zero point is fixed.
        signed: whether the integers have a sign.
    """

    bits: int
    symmetric: bool
    signed: bool

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise ConfigError(f"a range can be found for 2 to 16 bits, not {self.bits}")

    def mirrored(self, statistics: TensorStatistics) -> bool:
        """Whether the range must be [-t, t]: always on a symmetric signed grid, else where negative values are."""
        return self.symmetric and (self.signed or statistics.minimum < 0.0)

    def by_magnitude(self, statistics: TensorStatistics) -> bool:
        """Whether one magnitude determines the range: the grid is symmetric, or all values have the same sign."""
        return self.symmetric or statistics.minimum >= 0.0 or statistics.maximum <= 0.0

    def steps(self, statistics: TensorStatistics) -> int:
        """Steps from zero to the largest magnitude where one magnitude determines the range, else from end to end."""
        return (1 << (self.bits - 1)) - 1 if self.mirrored(statistics) else (1 << self.bits) - 1

    def range(self, statistics: TensorStatistics, low: float, high: float) -> TensorRange:
        """The range of this form that represents [low, high], as far as there were values."""
        low = max(low, statistics.minimum)
        high = min(high, statistics.maximum)
        if self.mirrored(statistics):
            bound = max(-low, high, 0.0)
            return TensorRange(-bound, bound)
        return TensorRange(min(low, 0.0), max(high, 0.0))

    def range_of_magnitude(self, statistics: TensorStatistics, magnitude: float) -> TensorRange:
        """The range of this form that represents magnitudes up to ``magnitude``, as far as there were values."""
        return self.range(statistics, -magnitude, magnitude)

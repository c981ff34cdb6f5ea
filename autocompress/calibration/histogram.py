"""A streaming histogram that can be merged: the same counts whatever the order and the grouping of the values.

Bin k covers [k w, (k + 1) w) for k = -BINS/2 ... BINS/2 - 1, so zero is always a bin edge.  The width w is a power of
two that depends on nothing but the largest magnitude seen: the smallest width at which it fits.  When a larger
magnitude arrives, w doubles as often as needed and neighbours (2k, 2k + 1) are added up.  Since

    floor(x / 2w) = floor(floor(x / w) / 2)

the result is exactly what one pass at the final width would have counted: nothing is interpolated or redistributed.
Scaling a float32 by a power of two is exact as well, so bin edges are not subject to rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
CountArray = npt.NDArray[np.int64]

BINS = 1 << 14
HALF = BINS // 2
_HALF_BITS = HALF.bit_length() - 1
# Widths stop here so that 1 / width is a finite float32; magnitudes this small are denormal or nearly so.
MINIMUM_EXPONENT = -126
# Values are binned in pieces that stay in the second-level cache together with their scratch space.
_PIECE = 1 << 15


def width_exponent(abs_max: float) -> int:
    """The smallest e >= ``MINIMUM_EXPONENT`` with ``abs_max`` < HALF * 2**e; ``abs_max`` must be finite."""
    if abs_max == 0.0:
        return MINIMUM_EXPONENT
    return max(math.frexp(abs_max)[1] - _HALF_BITS, MINIMUM_EXPONENT)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts over the grid described above.

    Attributes:
        exponent: base-2 logarithm of the bin width.
        counts: int64 of shape (BINS,); ``counts[HALF]`` is the bin that starts at zero.
    """

    exponent: int
    counts: CountArray

    @classmethod
    def empty(cls) -> Histogram:
        """Nothing counted yet; the identity of ``merge``."""
        return cls(MINIMUM_EXPONENT, np.zeros(BINS, np.int64))

    @property
    def width(self) -> float:
        """Width of a bin, in the unit of the values."""
        return math.ldexp(1.0, self.exponent)

    @property
    def total(self) -> int:
        """Number of values counted."""
        return int(self.counts.sum())

    def edges(self) -> DoubleArray:
        """Bin edges, float64 of shape (BINS + 1,)."""
        return np.arange(-HALF, HALF + 1, dtype=np.float64) * np.float64(self.width)

    def coarsened(self, exponent: int) -> Histogram:
        """The same values on the grid of width 2**``exponent``, which must not be finer."""
        return Histogram(exponent, coarsened(self.counts, exponent - self.exponent))

    def merge(self, other: Histogram) -> Histogram:
        """The histogram of both sets of values together: associative, commutative and exact."""
        exponent = max(self.exponent, other.exponent)
        return Histogram(exponent, self.coarsened(exponent).counts + other.coarsened(exponent).counts)


def coarsened(counts: CountArray, doublings: int) -> CountArray:
    """Counts after the bin width has doubled ``doublings`` times; always a fresh array."""
    if doublings < 0:
        raise ValueError("a histogram cannot be refined")
    if doublings == 0:
        return counts.copy()
    # After _HALF_BITS doublings only the two bins beside zero are left, and stay.
    group = 1 << min(doublings, _HALF_BITS)
    result = np.zeros(BINS, np.int64)
    kept = BINS // group
    result[HALF - kept // 2 : HALF + kept // 2] = counts.reshape(kept, group).sum(axis=1)
    return result


class HistogramBuilder:
    """Counts arrays into a growing histogram.

    Args:
        scratch: working memory, shared by builders that never run at the same time.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._exponent = MINIMUM_EXPONENT
        self._counts = np.zeros(BINS, np.int64)

    def update(self, values: FloatArray, abs_max: float) -> None:
        """Counts finite values.

        Args:
            values: float32, contiguous, of shape (n,).
            abs_max: their largest magnitude.
        """
        exponent = width_exponent(abs_max)
        if exponent > self._exponent:
            self._counts = coarsened(self._counts, exponent - self._exponent)
            self._exponent = exponent
        for start in range(0, values.size, _PIECE):
            self._count(values[start : start + _PIECE])

    def histogram(self) -> Histogram:
        """What has been counted so far, as a value that later updates do not change."""
        return Histogram(self._exponent, self._counts.copy())

    def _count(self, piece: FloatArray) -> None:
        scaled = self._scratch.reals[: piece.size]
        bins = self._scratch.bins[: piece.size]
        np.multiply(piece, np.float32(math.ldexp(1.0, -self._exponent)), out=scaled)
        np.floor(scaled, out=scaled)
        if self._exponent > 0:
            # A denormal over a wide bin underflows to -0.0; it still belongs to the bin below zero.
            scaled[(piece < 0) & (scaled == 0)] = -1.0
        np.add(scaled, np.float32(HALF), out=scaled)
        np.copyto(bins, scaled, casting="unsafe")
        self._counts += np.bincount(bins, minlength=BINS)


class Scratch:
    """Working memory for counting one piece of values."""

    def __init__(self) -> None:
        self.reals = np.empty(_PIECE, np.float32)
        self.bins = np.empty(_PIECE, np.intp)

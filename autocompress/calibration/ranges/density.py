"""The distribution of a tensor as its histogram tells it: uniform within each bin."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.calibration.histogram import HALF, CountArray, DoubleArray
from autocompress.calibration.statistics import TensorStatistics

# A value that lies exactly on the last edge is spread over this fraction of a bin.
_SLIVER = 2.0**-20


class Density:
    """A piecewise uniform distribution on consecutive bins of equal width, the outer two cut off at the extremes.

    Exact zeros are left out: every grid represents them exactly, and activations are full of them.

    Attributes:
        total: number of values.
        mean: of the values (0 without values).
        mean_square: of the values (0 without values).

    Args:
        mass: values per bin, of shape (bins,), at least one bin.
        first_bin: number of the first bin; bin k starts at k * width.
        width: of a bin.
        low: smallest value, inside the first bin.
        high: largest value, inside the last bin.
    """

    def __init__(self, mass: CountArray, first_bin: int, width: float, low: float, high: float) -> None:
        edges = (first_bin + np.arange(mass.size + 1, dtype=np.float64)) * width
        edges[0] = min(low, edges[1] - width * _SLIVER)
        edges[-1] = max(high, edges[-2] + width * _SLIVER)
        widths = np.diff(edges)
        self._first_bin = first_bin
        self._width = width
        self._edges = edges
        self._half_density = mass / (2.0 * widths)
        # Below each edge: how many values (F), the integral of that (G), and twice the integral of that.
        self._below = _running(mass)
        self._integral = _running(0.5 * (self._below[:-1] + self._below[1:]) * widths)
        cubic = self._half_density / 1.5 * widths
        self._squares = _running(widths * (2.0 * self._integral[:-1] + widths * (self._below[:-1] + cubic)))
        self.total = float(self._below[-1])
        centers = 0.5 * (edges[:-1] + edges[1:])
        scale = 1.0 / self.total if self.total else 0.0
        self.mean = float((mass * centers).sum()) * scale
        self.mean_square = float((mass * (centers**2 + widths**2 / 12.0)).sum()) * scale

    def shortfall(self, points: DoubleArray) -> DoubleArray:
        """G(t) = the sum over all values x below t of (t - x), for each point t.

        It is the integral of the distribution function, and all that error sums over a grid need (see ``errors``).
        """
        last = self._edges[-1]
        bins, inside = self._located(points)
        result = self._half_density[bins]
        result *= inside
        result += self._below[bins]
        result *= inside
        result += self._integral[bins]
        result += self.total * np.maximum(points - last, 0.0)
        return result

    def squares_below(self, points: DoubleArray) -> DoubleArray:
        """The sum over all values x below t of (t - x)**2, for points t not above the support."""
        bins, inside = self._located(points)
        cubic = self._half_density[bins] / 1.5 * inside
        return self._squares[bins] + inside * (2.0 * self._integral[bins] + inside * (self._below[bins] + cubic))

    def squares_above(self, points: DoubleArray) -> DoubleArray:
        """The sum over all values x above t of (x - t)**2, for each point t."""
        points = np.minimum(points, self._edges[-1])
        everywhere = self.total * (self.mean_square - 2.0 * points * self.mean + points**2)
        return np.maximum(everywhere - self.squares_below(points), 0.0)

    def below(self, points: DoubleArray) -> DoubleArray:
        """F(t) = how many values lie below t, for each point t."""
        return np.interp(points, self._edges, self._below)

    def ranked(self, rank: float) -> float:
        """The point below which ``rank`` of the values lie."""
        return float(np.interp(rank, self._below, self._edges))

    def _located(self, points: DoubleArray) -> tuple[npt.NDArray[np.intp], DoubleArray]:
        """Index of the bin of each point, and how far inside it the point lies; points outside go to the ends."""
        inside = np.clip(points, self._edges[0], self._edges[-1])
        # Edges between bins are whole multiples of the width: the bin is a matter of arithmetic, not of search.
        bins = np.floor(inside * (1.0 / self._width)).astype(np.intp)
        bins -= self._first_bin
        np.clip(bins, 0, self._half_density.size - 1, out=bins)
        inside -= self._edges[bins]
        return bins, inside


def _running(parts: npt.NDArray[Any]) -> DoubleArray:
    return np.concatenate([[0.0], np.cumsum(parts, dtype=np.float64)])


def density(statistics: TensorStatistics) -> Density:
    """The distribution of a tensor's values that are not zero; there must be some."""
    histogram = statistics.histogram
    width = histogram.width
    first = int(np.floor(statistics.minimum / width))
    last = int(np.floor(statistics.maximum / width))
    counts = histogram.counts.copy()
    counts[HALF] -= statistics.zeros
    mass = counts[HALF + first : HALF + last + 1]
    return Density(mass, first, width, statistics.minimum, statistics.maximum)


def magnitude_density(statistics: TensorStatistics) -> Density:
    """The distribution of the magnitudes of a tensor's values that are not zero; there must be some."""
    mass = magnitude_counts(statistics)
    first = int(np.flatnonzero(mass)[0])
    least = max(statistics.minimum, -statistics.maximum, 0.0)
    return Density(mass[first:], first, statistics.histogram.width, least, statistics.abs_max)


def magnitude_counts(statistics: TensorStatistics) -> CountArray:
    """How many values that are not zero have a magnitude in each bin, up to the bin of the largest magnitude."""
    negative, positive = side_counts(statistics)
    folded = np.zeros(max(negative.size, positive.size), np.int64)
    folded[: negative.size] += negative
    folded[: positive.size] += positive
    return folded


def side_counts(statistics: TensorStatistics) -> tuple[CountArray, CountArray]:
    """How many negative and how many positive values have a magnitude in each bin, up to the last occupied one."""
    counts = statistics.histogram.counts.copy()
    counts[HALF] -= statistics.zeros
    return _trimmed(counts[HALF - 1 :: -1]), _trimmed(counts[HALF:])


def _trimmed(counts: CountArray) -> CountArray:
    occupied = np.flatnonzero(counts)
    return counts[: int(occupied[-1]) + 1] if occupied.size else counts[:0]

"""Finds the range with the least error, by a coarse scan and local refinements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autocompress.calibration.histogram import DoubleArray
from autocompress.calibration.ranges.density import density, magnitude_density
from autocompress.calibration.ranges.errors import GridError
from autocompress.calibration.ranges.form import GridForm, TensorRange
from autocompress.calibration.statistics import TensorStatistics

Objective = Callable[[DoubleArray, DoubleArray], DoubleArray]

# Ends are sought as fractions of the extremes, down to 2**-_OCTAVES.
_OCTAVES = 10
_LINE_POINTS = 10 * _OCTAVES + 1
_PLANE_POINTS = 2 * _OCTAVES + 1
_REFINED_POINTS = 9
_REFINEMENTS = 3
_CANDIDATES_AT_ONCE = 64


def least_error_range(statistics: TensorStatistics, form: GridForm, error: GridError) -> TensorRange:
    """The range whose grid has the least error on the tensor's distribution.

    Args:
        statistics: of a tensor with at least one value that is not zero.
        form: the kind of grid; both ends are sought where they are free.
        error: what to minimise.
    """
    steps = form.steps(statistics)
    if form.by_magnitude(statistics):
        magnitudes = magnitude_density(statistics)

        def on_line(fraction: DoubleArray, _: DoubleArray) -> DoubleArray:
            step = fraction * (statistics.abs_max / steps)
            return error(magnitudes, np.zeros_like(step), step, steps)

        fraction, _ = _minimum(on_line, np.exp2(np.linspace(-_OCTAVES, 0.0, _LINE_POINTS)), np.ones(1))
        return form.range_of_magnitude(statistics, fraction * statistics.abs_max)

    values = density(statistics)

    def on_plane(low: DoubleArray, high: DoubleArray) -> DoubleArray:
        lowest, highest = low * statistics.minimum, high * statistics.maximum
        step = (highest - lowest) / steps
        # Zero is on the grid: the lowest point is a whole number of steps.
        return error(values, np.rint(lowest / step) * step, step, steps)

    fractions = np.exp2(np.linspace(-_OCTAVES, 0.0, _PLANE_POINTS))
    low, high = _minimum(on_plane, fractions, fractions)
    return form.range(statistics, low * statistics.minimum, high * statistics.maximum)


def _minimum(objective: Objective, first: DoubleArray, second: DoubleArray) -> tuple[float, float]:
    """The pair of fractions with the least objective: over the product of two scans, then ever closer around it."""
    ratios = [scan[1] / scan[0] if scan.size > 1 else 1.0 for scan in (first, second)]
    best = _best_pair(objective, first, second)
    for _ in range(_REFINEMENTS):
        scans = [_around(center, ratio) for center, ratio in zip(best, ratios, strict=True)]
        best = _best_pair(objective, *scans)
        ratios = [ratio ** (2.0 / (_REFINED_POINTS - 1)) for ratio in ratios]
    return best


def _around(center: float, ratio: float) -> DoubleArray:
    if ratio == 1.0:
        return np.array([center])
    points = center * ratio ** np.linspace(-1.0, 1.0, _REFINED_POINTS)
    return np.unique(np.minimum(points, 1.0))


def _best_pair(objective: Objective, first: DoubleArray, second: DoubleArray) -> tuple[float, float]:
    pairs = np.meshgrid(first, second, indexing="ij")
    low, high = (grid.reshape(-1) for grid in pairs)
    # A few at a time, so that what is computed for them stays in the second-level cache.
    parts = (slice(start, start + _CANDIDATES_AT_ONCE) for start in range(0, low.size, _CANDIDATES_AT_ONCE))
    best = int(np.argmin(np.concatenate([objective(low[part], high[part]) for part in parts])))
    return float(low[best]), float(high[best])

"""Rounding and clipping error of a whole tensor on many candidate grids at once.

Let the grid be c_0 < c_1 < ... < c_n with step s and cell borders b_j = c_j + s/2, let every value x be replaced by
the nearest grid point, and let G(t) be the sum of (t - x) over all x below t.  Summation by parts gives, exactly,

    sum of squared errors  = sum (x - c_n)^2 - 2 s sum_{j<n} G(b_j)
    sum of absolute errors = sum (x - c_n)   + 2 sum_{j<=n} G(c_j) - 2 sum_{j<n} G(b_j)

clipping on both sides included, so that one look-up per border replaces a pass over the data.  Grids much finer than
the histogram use the classical limits s^2/12 and s/4 per value inside and the exact error outside.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autocompress.calibration.histogram import DoubleArray
from autocompress.calibration.ranges.density import Density

_FINE_STEPS = 4096

GridError = Callable[[Density, DoubleArray, DoubleArray, int], DoubleArray]


def mean_squared_error(values: Density, lowest: DoubleArray, step: DoubleArray, steps: int) -> DoubleArray:
    """Mean squared quantization error on each candidate grid.

    Args:
        values: the distribution.
        lowest: lowest grid point c_0, of shape (candidates,).
        step: step s > 0, of shape (candidates,).
        steps: n, the number of steps of every grid.

    Returns:
        Errors of shape (candidates,).
    """
    highest = lowest + steps * step
    if steps > _FINE_STEPS:
        clipped = values.squares_below(lowest) + values.squares_above(highest)
        inside = values.below(highest) - values.below(lowest)
        squares: DoubleArray = (clipped + step**2 / 12.0 * inside) / values.total
        return squares
    borders = lowest[:, None] + step[:, None] * (np.arange(steps) + 0.5)
    spread = values.mean_square - 2.0 * highest * values.mean + highest**2
    errors = spread - 2.0 * step * values.shortfall(borders).sum(axis=1) / values.total
    return _not_negative(errors)


def mean_absolute_error(values: Density, lowest: DoubleArray, step: DoubleArray, steps: int) -> DoubleArray:
    """Mean absolute quantization error on each candidate grid; arguments as for ``mean_squared_error``."""
    highest = lowest + steps * step
    above = (values.mean - highest) * values.total
    if steps > _FINE_STEPS:
        clipped = values.shortfall(lowest) + values.shortfall(highest) + above
        inside = values.below(highest) - values.below(lowest)
        distances: DoubleArray = (clipped + step / 4.0 * inside) / values.total
        return distances
    # Grid points and borders alternate at half steps: c_0, b_0, c_1, ..., b_{n-1}, c_n.
    halves = lowest[:, None] + 0.5 * step[:, None] * np.arange(2 * steps + 1)
    sums = values.shortfall(halves)
    errors = above + 2.0 * (sums[:, ::2].sum(axis=1) - sums[:, 1::2].sum(axis=1))
    return _not_negative(errors / values.total)


def _not_negative(errors: DoubleArray) -> DoubleArray:
    """Cancellation may leave tiny negative numbers where the error is zero."""
    clipped: DoubleArray = np.maximum(errors, 0.0)
    return clipped

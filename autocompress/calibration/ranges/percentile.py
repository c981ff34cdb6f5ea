"""HIST: quantiles of the histogram, so that a given share of the values lies inside the range."""

from __future__ import annotations

from autocompress.calibration.ranges.density import density, magnitude_density
from autocompress.calibration.ranges.form import GridForm, TensorRange
from autocompress.calibration.statistics import TensorStatistics
from autocompress.errors import ConfigError

USUAL_PERCENTILE = 99.99
"""Unless another one is given.

Where other algorithms (``mse`` first) do badly, in networks of clipped activations that rare values make coarse, it has
half the error of 99.999; where the largest values mean something, as in a denoiser, it has three times that error, and
``mse`` does as well as 99.999.  Alone, 99.997 is never far from the best.  Recipes rely on it: they carry no ranges of
weights.
"""


def percentile(statistics: TensorStatistics, form: GridForm, *, percentile: float = USUAL_PERCENTILE) -> TensorRange:
    """The range that holds ``percentile`` percent of the values.

    Where both ends are free, half of the rest lies beyond each; otherwise all of it lies beyond the largest
    magnitude.  Where that would leave nothing but zeros, only values that are not zero are counted.

    Args:
        statistics: of a tensor with at least one value that is not zero.
        form: the kind of grid.
        percentile: above 0, at most 100.

    Raises:
        ConfigError: when the percentile is outside (0, 100].
    """
    check_percentile(percentile)
    share = 1.0 - percentile / 100.0
    found = _range(statistics, form, share * statistics.count)
    if found.low == found.high:
        found = _range(statistics, form, share * (statistics.count - statistics.zeros))
    return found


def _range(statistics: TensorStatistics, form: GridForm, beyond: float) -> TensorRange:
    """The range that leaves ``beyond`` values outside."""
    if form.by_magnitude(statistics):
        magnitudes = magnitude_density(statistics)
        inside = magnitudes.total - beyond
        return form.range_of_magnitude(statistics, magnitudes.ranked(inside) if inside > 0.0 else 0.0)
    values = density(statistics)
    low = min(values.ranked(beyond / 2.0), 0.0)
    high = max(values.ranked(values.total - beyond / 2.0), 0.0)
    return form.range(statistics, low, high)


def check_percentile(percentile: float) -> None:
    """Refuses percentiles that are none.

    Raises:
        ConfigError: when the percentile is outside (0, 100].
    """
    if isinstance(percentile, bool) or not isinstance(percentile, int | float) or not 0.0 < percentile <= 100.0:
        raise ConfigError(f"percentile must be above 0 and at most 100, not {percentile!r}")

"""EMD: the range that moves the distribution least, by the earth mover's (first Wasserstein) distance.

Rounding to a grid is a nondecreasing map, and on the line a nondecreasing map is the optimal transport between a
distribution and its image (monotone rearrangement; Villani, Topics in Optimal Transportation, section 2.2).  The
distance between the values and their quantized values is therefore E |x - q(x)|, with no histogram of q(x) needed.
"""

from __future__ import annotations

from autocompress.calibration.ranges.errors import mean_absolute_error
from autocompress.calibration.ranges.form import GridForm, TensorRange
from autocompress.calibration.ranges.search import least_error_range
from autocompress.calibration.statistics import TensorStatistics


def emd(statistics: TensorStatistics, form: GridForm) -> TensorRange:
    """The range that minimises the earth mover's distance between x and q(x)."""
    return least_error_range(statistics, form, mean_absolute_error)

"""AVG: the extremes of a typical sample.

A running average with a decay depends on the order of the samples.  The plain mean of per-sample extremes has the same
aim (one unusual sample does not set the range), uses every sample equally, and can be merged.
"""

from __future__ import annotations

from autocompress.calibration.ranges.form import GridForm, TensorRange
from autocompress.calibration.statistics import TensorStatistics


def moving_average(statistics: TensorStatistics, form: GridForm) -> TensorRange:
    """[mean over samples of min x, mean over samples of max x], widened to include zero."""
    return form.range(statistics, statistics.mean_minimum, statistics.mean_maximum)

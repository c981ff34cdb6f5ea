"""Min-max: the exact extremes; nothing is clipped."""

from __future__ import annotations

from autocompress.calibration.ranges.form import GridForm, TensorRange
from autocompress.calibration.statistics import TensorStatistics


def min_max(statistics: TensorStatistics, form: GridForm) -> TensorRange:
    """[min x, max x], widened to include zero."""
    return form.range(statistics, statistics.minimum, statistics.maximum)

"""ABS_MAX: the largest magnitude, mirrored where there are values on both sides of zero."""

from __future__ import annotations

from autocompress.calibration.ranges.form import GridForm, TensorRange
from autocompress.calibration.statistics import TensorStatistics


def abs_max(statistics: TensorStatistics, form: GridForm) -> TensorRange:
    """[-a, a] with a = max |x|; [0, a] or [-a, 0] where the grid allows it and all values have one sign."""
    bound = statistics.abs_max
    if form.mirrored(statistics) or statistics.minimum < 0.0 < statistics.maximum:
        return TensorRange(-bound, bound)
    return form.range_of_magnitude(statistics, bound)

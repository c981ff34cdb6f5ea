"""MSE: the range with the least mean squared quantization error, both ends free where the grid allows it."""

from __future__ import annotations

from autocompress.calibration.ranges.errors import mean_squared_error
from autocompress.calibration.ranges.form import GridForm, TensorRange
from autocompress.calibration.ranges.search import least_error_range
from autocompress.calibration.statistics import TensorStatistics


def mse(statistics: TensorStatistics, form: GridForm) -> TensorRange:
    """The range that minimises E (x - q(x))^2, clipping and rounding together."""
    return least_error_range(statistics, form, mean_squared_error)

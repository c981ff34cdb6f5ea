"""How far off a whole model's estimate may be: calibrated on families of models that nothing was fitted on.

A model's estimate is uncertain by what its operators are uncertain by, of which a part is common to all of them (the
same forest, the same kernel) and adds up while the rest averages out, and by the composition:

    sigma = sqrt(common^2 + own^2 + composition^2),    common = 0.5 * sum of half widths,  own^2 = 0.25 * sum of squares

What sigma is worth is calibrated by split conformal prediction (Lei et al., "Distribution-Free Predictive Inference for
Regression", JASA 2018) on the held-out models: the 90 % quantile of |log(measured / estimated)| / sigma, once for
estimates that rest on the table and once for estimates that rest on forests.  An estimate that rests on both lies
between, by its coverage.  The noise of an ordinary measurement is added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.errors import TableError

FloatArray = npt.NDArray[np.float64]
COVERAGE = 0.9
_SHARED = 0.5  # share of the operators' errors that all have in common
_FEWEST = 20  # held-out models to calibrate on
_WIDEST = math.log(100.0)  # beyond that an interval says no more than that nothing is known
_LEAST_LEFT = 0.05
_LEAST, _MOST = 0.3, 4.0  # factors beyond these would say that something else is wrong


@dataclass(frozen=True)
class ModelIntervals:
    """What calibration found; the defaults are for a device nobody calibrated.

    Attributes:
        table_factor: half width in sigmas of an estimate that rests on the table alone.
        forest_factor: half width in sigmas of one that rests on forests alone.
        noise90: half width, relative, of the 90 % interval of an ordinary measurement around the estimate's moment.
        models: held-out models that the factors were calibrated on.
    """

    table_factor: float = 1.0
    forest_factor: float = 1.5
    noise90: float = 0.02
    models: int = 0

    def half_log(self, sigma: float, coverage: float) -> float:
        """Half width of the 90 % interval of log(latency).

        Args:
            sigma: of the logarithm, from ``sigma_below`` or ``sigma_above``.
            coverage: share of the estimate that came from exact table hits.
        """
        factor = coverage * self.table_factor + (1 - coverage) * self.forest_factor
        return min(math.hypot(factor * sigma, self.noise90), _WIDEST)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> ModelIntervals:
        """Inverse of ``to_dict``.

        Raises:
            TableError: when it is malformed.
        """
        try:
            return cls(**row)
        except TypeError as error:
            raise TableError(f"the intervals of predictors are malformed ({error}); train them again") from error


RAW = ModelIntervals(table_factor=1.0, forest_factor=1.0, noise90=0.0)
"""Intervals as wide as sigma: what calibration starts from."""


def sigma_above(relative: float) -> float:
    """Relative uncertainty upwards, as a logarithm."""
    return math.log1p(relative)


def sigma_below(relative: float) -> float:
    """Relative uncertainty downwards, as a logarithm; no time is zero."""
    return -math.log1p(-min(relative, 1.0 - _LEAST_LEFT))


def relative_sigma(latency_us: float, halves_us: float, squares: float, composition_error90: float) -> float:
    """What a model's estimate is uncertain by before calibration, relative.

    Args:
        latency_us: the estimate.
        halves_us: sum of the half widths of its operators' 90 % intervals.
        squares: sum of their squares.
        composition_error90: of the composition, relative.
    """
    common, own = _SHARED * halves_us, (1 - _SHARED) ** 2 * squares
    return math.sqrt(common**2 + own + (composition_error90 * latency_us) ** 2) / latency_us


def calibrate(by_table: FloatArray, by_forest: FloatArray) -> ModelIntervals:
    """Factors from held-out models.

    Args:
        by_table: |log(measured / estimated)| / sigma of estimates from the table, of shape (models,).
        by_forest: the same of estimates from forests.
    """
    factors = []
    for scores, default in ((by_table, ModelIntervals.table_factor), (by_forest, ModelIntervals.forest_factor)):
        found = conformal_quantile(scores) if len(scores) >= _FEWEST else default
        factors.append(float(np.clip(found, _LEAST, _MOST)))
    return ModelIntervals(factors[0], factors[1], models=min(len(by_table), len(by_forest)))


def conformal_quantile(scores: FloatArray, coverage: float = COVERAGE) -> float:
    """The split-conformal quantile: the ceil((n + 1) * coverage)-th smallest score, or the largest where n is small."""
    rank = int(np.ceil((len(scores) + 1) * coverage))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])

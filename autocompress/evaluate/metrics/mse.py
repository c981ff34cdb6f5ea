"""mse: the mean squared error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from autocompress.evaluate.metrics.metric import FloatArray, ScoreMetric, flat


@dataclass(frozen=True, kw_only=True)
class Mse(ScoreMetric):
    """Mean over the elements of a sample of (output - truth)^2."""

    name: ClassVar[str] = "mse"
    higher_is_better: ClassVar[bool] = False

    def score(self, prediction: npt.NDArray[Any], target: npt.NDArray[Any]) -> FloatArray:
        """See ``ScoreMetric.score``."""
        difference = flat(prediction) - flat(target)
        return np.asarray((difference * difference).mean(axis=1))

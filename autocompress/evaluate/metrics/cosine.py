"""cosine: the cosine of the angle between output and truth, both flattened, per sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from autocompress.evaluate.metrics.metric import FloatArray, ScoreMetric, flat


@dataclass(frozen=True, kw_only=True)
class Cosine(ScoreMetric):
    """Cosine similarity; 1 when both are all zero, 0 when only one is."""

    name: ClassVar[str] = "cosine"
    is_fraction: ClassVar[bool] = True

    def score(self, prediction: npt.NDArray[Any], target: npt.NDArray[Any]) -> FloatArray:
        """See ``ScoreMetric.score``."""
        a, b = _unit(flat(prediction)), _unit(flat(target))
        # 1 - |a - b|^2 / 2 equals a . b for unit vectors, and keeps the digits of small angles.
        cosine = 1.0 - 0.5 * np.square(a - b).sum(axis=1)
        zeros = (~a.any(axis=1)).astype(int) + ~b.any(axis=1)
        return np.asarray(np.where(zeros == 2, 1.0, np.where(zeros == 1, 0.0, cosine)))


def _unit(rows: FloatArray) -> FloatArray:
    # Scaled by the largest element first: squares of tiny or huge values would leave the range of floats.
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    scaled = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
    norm = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(np.divide(scaled, norm, out=np.zeros_like(scaled), where=norm > 0))

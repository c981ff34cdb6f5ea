"""spearman: the correlation of ranks (ties share their mean rank).

Over the samples where the model gives one number per sample; where it gives many and there are no labels, between the
elements of each sample's output and the original's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from autocompress.evaluate.metrics.metric import FloatArray, Outputs, RowMetric, ScoreMetric


@dataclass(frozen=True, kw_only=True)
class Spearman(RowMetric):
    """Rank correlation over samples; rows are (output, truth)."""

    name: ClassVar[str] = "spearman"
    is_fraction: ClassVar[bool] = True
    per_sample: ClassVar[bool] = False

    def rows(self, outputs: Outputs, truth: Outputs) -> FloatArray:
        """See ``RowMetric.rows``; k is 2."""
        prediction, target = next(self.pairs(outputs, truth))
        return np.stack([prediction.reshape(-1), target.reshape(-1)], axis=1).astype(np.float64)

    def finish(self, rows: FloatArray) -> float:
        """See ``RowMetric.finish``."""
        return rank_correlation(rows[:, 0], rows[:, 1])


@dataclass(frozen=True, kw_only=True)
class SpearmanWithin(ScoreMetric):
    """Rank correlation between the elements of each sample's output and the original's."""

    name: ClassVar[str] = "spearman"
    is_fraction: ClassVar[bool] = True

    def score(self, prediction: npt.NDArray[Any], target: npt.NDArray[Any]) -> FloatArray:
        """See ``ScoreMetric.score``."""
        pairs = zip(prediction.reshape(len(prediction), -1), target.reshape(len(target), -1), strict=True)
        return np.array([rank_correlation(p, t) for p, t in pairs])


def rank_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Pearson's correlation of the ranks; 0 when either is constant, 1 when both are."""
    ranks_a, ranks_b = (r - r.mean() for r in (mean_ranks(a), mean_ranks(b)))
    squares = float((ranks_a @ ranks_a) * (ranks_b @ ranks_b))
    if squares == 0.0:
        return float(not ranks_a.any() and not ranks_b.any())
    return float(np.clip((ranks_a @ ranks_b) / np.sqrt(squares), -1.0, 1.0))


def mean_ranks(values: npt.NDArray[Any]) -> FloatArray:
    """Ranks 1 .. n; equal values share the mean of their ranks."""
    _, position, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[position.reshape(-1)])

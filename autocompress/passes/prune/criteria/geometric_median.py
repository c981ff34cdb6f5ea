"""Distance to the other units: who is close to the geometric median of a layer can be replaced by the others.

He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration", CVPR 2019
(arXiv 1811.00250), equation 6.
"""

from __future__ import annotations

import numpy as np

from autocompress.passes.prune.criteria.scoring import DoubleArray, Scores, Scoring, score_rows


def geometric_median(scoring: Scoring) -> Scores:
    """Sum of the distances between a unit's weights and those of every other unit."""
    return score_rows(scoring, _distances)


def _distances(rows: DoubleArray) -> DoubleArray:
    squares = (rows**2).sum(axis=1)
    between = squares[:, None] + squares[None, :] - 2.0 * (rows @ rows.T)
    distances: DoubleArray = np.sqrt(np.maximum(between, 0.0)).sum(axis=1)
    return distances

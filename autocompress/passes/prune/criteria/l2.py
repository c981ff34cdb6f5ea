"""L2 norm of the weights that compute a unit (He et al., "Soft Filter Pruning", IJCAI 2018)."""

from __future__ import annotations

import numpy as np

from autocompress.passes.prune.criteria.scoring import Scores, Scoring, score_rows


def l2(scoring: Scoring) -> Scores:
    """Square root of the sum of squares."""
    return score_rows(scoring, lambda rows: np.sqrt((rows**2).sum(axis=1)))

"""L1 norm of the weights that compute a unit (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017)."""

from __future__ import annotations

import numpy as np

from autocompress.passes.prune.criteria.scoring import Scores, Scoring, score_rows


def l1(scoring: Scoring) -> Scores:
    """Sum of magnitudes."""
    return score_rows(scoring, lambda rows: np.abs(rows).sum(axis=1))

"""Criteria: which units of a group matter, one per file.

l1, l2              norms of the weights that compute a unit
geometric_median    distance to the other units
batch_norm_scale    scale of the batch normalization, where the model had one
activation          mean magnitude on samples
reconstruction      what the layers behind lose, from second moments of samples
surgeon             the same where what is left is solved anew, one unit after the other
taylor              first-order change of the model's own output, from gradients on samples
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from autocompress.passes.prune.criteria.activation import activation
from autocompress.passes.prune.criteria.batch_norm_scale import batch_norm_scale, layer_scales
from autocompress.passes.prune.criteria.geometric_median import geometric_median
from autocompress.passes.prune.criteria.l1 import l1
from autocompress.passes.prune.criteria.l2 import l2
from autocompress.passes.prune.criteria.reconstruction import reconstruction
from autocompress.passes.prune.criteria.scoring import Criterion, Scores, Scoring
from autocompress.passes.prune.criteria.surgeon import surgeon
from autocompress.passes.prune.criteria.taylor import taylor

BATCH_NORM_SCALE = "batch_norm_scale"
CRITERIA: Mapping[str, Criterion] = MappingProxyType(
    {
        "l1": l1,
        "l2": l2,
        "geometric_median": geometric_median,
        BATCH_NORM_SCALE: batch_norm_scale,
        "activation": activation,
        "reconstruction": reconstruction,
        "surgeon": surgeon,
        "taylor": taylor,
    }
)

__all__ = ["BATCH_NORM_SCALE", "CRITERIA", "Criterion", "Scores", "Scoring", "layer_scales"]

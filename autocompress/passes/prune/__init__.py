"""Channel pruning: whole channels, neurons and attention heads leave the model, so that its tensors get smaller.

``graph.channels.analyse_channels`` finds groups of coupled channels; ``resolve`` chooses by a criterion which units
of each group stay; ``prune`` takes the others out, ``mask`` zeroes their weights instead (for recovery).
``width_steps`` says which widths a runtime rewards.
"""

from __future__ import annotations

from autocompress.passes.prune.config import PruneConfig
from autocompress.passes.prune.criteria import BATCH_NORM_SCALE, CRITERIA, layer_scales
from autocompress.passes.prune.payload import PrunePayload
from autocompress.passes.prune.resolve import mask, prune, removed_units, resolve
from autocompress.passes.prune.staircase import (
    WidthStep,
    candidate_widths,
    executed_prices,
    width_steps,
    worthwhile_widths,
)

__all__ = [
    "BATCH_NORM_SCALE",
    "CRITERIA",
    "PruneConfig",
    "PrunePayload",
    "WidthStep",
    "candidate_widths",
    "executed_prices",
    "layer_scales",
    "mask",
    "prune",
    "removed_units",
    "resolve",
    "width_steps",
    "worthwhile_widths",
]

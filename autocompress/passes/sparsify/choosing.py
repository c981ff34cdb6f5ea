"""From scores of weights to masks, by the pattern of each layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from autocompress.passes.sparsify.config import WANDA, SparsifyConfig
from autocompress.passes.sparsify.layers import SparseLayer
from autocompress.passes.sparsify.masks import DoubleArray, Mask, global_masks, nm_mask, per_output_mask, share_mask
from autocompress.passes.sparsify.pattern import NM, Pattern, Share


def scores_of(layers: Mapping[str, SparseLayer], norms: Mapping[str, DoubleArray]) -> dict[str, DoubleArray]:
    """Magnitudes of weights, times the norms of what they meet where those are given."""
    return {name: np.abs(layer.view) * norms.get(name, 1.0) for name, layer in layers.items()}


def masks_by_score(
    scores: Mapping[str, DoubleArray], patterns: Mapping[str, Pattern], config: SparsifyConfig
) -> dict[str, Mask]:
    """Masks of all layers.

    Args:
        scores: node name -> of shape (groups, output channels, input channels, kernel elements).
        patterns: of the same nodes.
        config: ``criterion`` and ``global_sparsity`` count.
    """
    together = {name: p for name, p in patterns.items() if isinstance(p, Share) and p.sparsity is None}
    masks: dict[str, Mask] = {}
    if together and config.global_sparsity is not None:
        masks.update(global_masks({name: scores[name] for name in together}, together, config.global_sparsity))
    for name, pattern in patterns.items():
        if isinstance(pattern, NM):
            masks[name] = nm_mask(scores[name], pattern)
        elif pattern.sparsity is not None and config.criterion == WANDA and pattern.part == "unstructured":
            masks[name] = per_output_mask(scores[name], pattern.sparsity)
        elif pattern.sparsity is not None:
            masks[name] = share_mask(scores[name], pattern, pattern.sparsity)
    return {name: masks[name] for name in patterns}


def obstacle(layer: SparseLayer, pattern: Pattern) -> str:
    """Why a layer cannot have a pattern; empty where it can."""
    groups, outputs, inputs, taps = layer.view.shape
    if isinstance(pattern, NM):
        return "it has too few input channels for the pattern" if inputs <= pattern.kept else ""
    steps = pattern.part_shape(outputs, inputs, taps)
    parts = groups * int(np.prod([-(-size // step) for size, step in zip((outputs, inputs, taps), steps, strict=True)]))
    return "it would be emptied: it has one part only" if parts == 1 else ""

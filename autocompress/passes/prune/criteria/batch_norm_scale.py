"""Magnitude of the scales of batch normalization (Liu et al., "Network Slimming", ICCV 2017).

Folding multiplies these scales into weights, so they are read from the model as it was before.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from autocompress.errors import RecipeError
from autocompress.graph.channels import ChannelGroup
from autocompress.graph.index import GraphIndex
from autocompress.passes.prune.criteria.scoring import DoubleArray, Scores, Scoring, normalized, per_unit


def batch_norm_scale(scoring: Scoring) -> Scores:
    """Sum of the magnitudes of a unit's scales, each normalization's with mean 1.

    Raises:
        RecipeError: a group's layers have no batch normalization.
    """
    return {group.name: _scores(scoring, group) for group in scoring.groups}


def _scores(scoring: Scoring, group: ChannelGroup) -> DoubleArray:
    before = layer_scales(scoring.original) if scoring.original is not None else {}
    now = layer_scales(scoring.model)
    total, found = np.zeros(group.size), False
    for member in group.members:
        scale = now.get(member.node)
        scale = before.get(member.node) if scale is None else scale
        if member.role == "output" and scale is not None and len(scale) == len(member.units):
            total += normalized(per_unit(group, member.units, np.abs(scale)))
            found = True
    if not found:
        raise RecipeError(
            f"prune step: the layers of group {group.name!r} have no batch normalization left; give the model as it "
            "was exported, or choose another criterion"
        )
    return total


def layer_scales(model: ModelProto) -> dict[str, DoubleArray]:
    """Name of a layer -> scales of the batch normalization behind it."""
    index = GraphIndex(model)
    found = {}
    for node in model.graph.node:
        layer = index.producers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if layer is not None and index.is_constant(node.input[1]):
            found[layer.name] = np.asarray(index.weight(node.input[1]), np.float64)
    return found

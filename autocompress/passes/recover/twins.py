"""Which channels of the original a layer of the compressed model still computes.

A pruned layer has fewer outputs than its twin of the same name, in the same order.  Its biases are those of its twin,
to the last bit, and tell which outputs stayed; where they do not, nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from onnx import ModelProto, NodeProto

from autocompress.graph.index import GraphIndex
from autocompress.passes.recover.linear_layer import LinearLayer


def twin_channels(
    layers: Sequence[LinearLayer], original: ModelProto, weights: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """Output of a layer -> numbers of the original's channels that it computes, rising; for layers that have a twin.

    Args:
        layers: of the compressed model, with the weights that it was given.
        original: model.
        weights: of the original, by name.
    """
    index = GraphIndex(original)
    found = {}
    for layer in layers:
        output = layer.node.output[0]
        channels = _channels(layer, index.producers.get(output), weights)
        if channels is not None:
            found[output] = channels
    return found


def channel_axis(tensor: torch.Tensor) -> int:
    """Where the channels of an inner tensor lie: the second axis of images, the last one of everything else."""
    return 1 if tensor.dim() in (4, 5) else tensor.dim() - 1


def channels_of(tensor: torch.Tensor, channels: torch.Tensor, axis: int) -> torch.Tensor:
    """Some channels of a tensor; the tensor itself where that is all of them."""
    return tensor if len(channels) == tensor.shape[axis] else tensor.index_select(axis, channels)


def _channels(layer: LinearLayer, twin: NodeProto | None, weights: Mapping[str, Any]) -> torch.Tensor | None:
    if twin is None or twin.op_type != layer.node.op_type or twin.input[1] not in weights:
        return None
    origin = weights[twin.input[1]]
    if origin.dim() != layer.weight.dim():
        return None
    if origin.shape[layer.output_axis] == layer.outputs:
        return torch.arange(layer.outputs)
    if layer.bias is None or len(twin.input) < 3 or twin.input[2] not in weights:
        return None
    return _kept(layer.bias.detach(), weights[twin.input[2]].detach())


def _kept(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor | None:
    """Where the values of ``own`` stand in ``other``, if each stands there once and in the same order."""
    places = {value: position for position, value in enumerate(other.reshape(-1).tolist())}
    found = [places.get(value, -1) for value in own.tolist()]
    clear = len(places) == other.numel() and found == sorted(set(found)) and found[0] >= 0
    return torch.tensor(found) if clear else None

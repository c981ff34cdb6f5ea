"""How far weights may move in a step: in proportion to their own size, channel by channel.

Batch normalization that was folded into the layers leaves them with weights of very different size, between layers and
between the channels of one; a step that is small for one shakes another to pieces.  Steps in proportion to each
channel's root mean square are what training with a gain per channel and unit weights would take (Salimans and Kingma,
weight normalization, arXiv 1602.07868), and one learning rate then does for every network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from onnx import ModelProto

from autocompress.graph.torch_execution.torch_graph import TorchGraph
from autocompress.passes.recover.linear_layer import linear_layers

_OF_TENSOR = 0.1  # of the size of the whole tensor: channels that are all but zero can still grow
_OF_OUTPUT = 0.1  # of the norm of a channel's weights, for its bias
_LEAST = 1e-3


@torch.no_grad()  # type: ignore[untyped-decorator]
def weight_scales(model: ModelProto, graph: TorchGraph, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Name of a weight -> its typical size, broadcast to it.

    Args:
        model: that is trained.
        graph: of it.
        names: of the weights.
    """
    axes = {name: grid.axis for name, grid in graph.grids.items() if graph.stored_value(grid.scale).numel() > 1}
    floors: dict[str, float] = {}
    for layer in linear_layers(model, graph):
        axes[layer.node.input[1]] = layer.output_axis
        if layer.bias is not None:
            norms = layer.weight.square().sum(_others(layer.weight, layer.output_axis)).sqrt()
            floors[layer.node.input[2]] = _OF_OUTPUT * float(norms.mean())
    weights = graph.weights
    return {name: _size(weights[name], axes.get(name), max(floors.get(name, 0.0), _LEAST)) for name in names}


def _size(weight: torch.Tensor, axis: int | None, least: float) -> torch.Tensor:
    """Root mean square of what is not zero, per channel where there is an axis of channels."""
    whole = max(float(_root_mean_square(weight, tuple(range(weight.dim())))), least)
    if axis is None or weight.dim() < 2:
        return weight.new_tensor(whole)
    return _root_mean_square(weight, _others(weight, axis)).clamp_min(_OF_TENSOR * whole)


def _root_mean_square(weight: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    count = (weight != 0).sum(axes, keepdim=True).clamp_min(1)
    return (weight.square().sum(axes, keepdim=True) / count).sqrt()


def _others(weight: torch.Tensor, axis: int) -> tuple[int, ...]:
    return tuple(a for a in range(weight.dim()) if a != axis % weight.dim())

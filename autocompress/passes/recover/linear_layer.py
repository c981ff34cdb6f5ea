"""Convolutions and matrix products as one thing: rows of inputs times a matrix per group."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto, NodeProto

from autocompress.graph.torch_execution.call import Call, Tensor
from autocompress.graph.torch_execution.torch_graph import TorchGraph
from autocompress.graph.torch_execution.windows import Windows, padded, windows_of
from autocompress.graph.walk import opset_of


class LinearLayer:
    """A layer y = x W + b with a weight of its own.

    Attributes:
        node: the layer.
        groups: independent parts, G.
        weight: parameter.
        output_axis: where the output channels lie in it.
        channel_axis: where they lie in what the layer computes.
        outputs: number of output channels.
        bias: parameter of shape (outputs,), or None.

    Args:
        node: Conv over one or two axes, Gemm or MatMul with its weight stored.
        model: that holds it.
        graph: of the model.
    """

    def __init__(self, node: NodeProto, model: ModelProto, graph: TorchGraph) -> None:
        self.node = node
        self._call = Call(node, opset_of(model), graph.dtype)
        self.weight: Any = graph.weights[node.input[1]]
        named = len(node.input) > 2 and node.input[2] in graph.weights
        bias = graph.weights[node.input[2]] if named else None
        self.is_conv = node.op_type == "Conv"
        self.groups = int(self._call.get("group", 1)) if self.is_conv else 1
        self.output_axis = 0 if self.is_conv or self._call.get("transB", 0) else 1
        self.channel_axis = 1 if self.is_conv else -1
        self.outputs = int(self.weight.shape[self.output_axis])
        self.bias = bias if bias is not None and tuple(bias.shape) == (self.outputs,) else None

    def matrix(self, weight: Tensor) -> Tensor:
        """A tensor of the weight's shape as matrices of shape (G, inputs, outputs / G)."""
        if self.is_conv:
            return weight.reshape(self.groups, self.outputs // self.groups, -1).transpose(1, 2)
        return (weight.t() if self._call.get("transB", 0) else weight)[None]

    def weight_from(self, matrix: Tensor) -> Tensor:
        """Inverse of ``matrix``."""
        if self.is_conv:
            return matrix.transpose(1, 2).reshape(self.weight.shape)
        return matrix[0].t() if self._call.get("transB", 0) else matrix[0]

    def rows(self, x: Tensor, y: Tensor, most: int, seed: int) -> tuple[Tensor, Tensor]:
        """Inputs of shape (G, rows, inputs) and outputs of shape (G, rows, outputs / G).

        Args:
            x: what the layer reads.
            y: what stands at its output.
            most: positions of a map or sequence to take per sample, at random where there are more.
            seed: of the choice.
        """
        if not self.is_conv:
            inputs, values = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
            chosen = torch.from_numpy(_chosen(len(inputs), most * len(x), seed))
            return inputs[chosen][None], values[chosen][None]
        if x.dim() == 3:
            return self._conv_rows(x.unsqueeze(2), y.unsqueeze(2), self._windows_1d(x), most, seed)
        kernel = tuple(self.weight.shape[2:])
        return self._conv_rows(x, y, windows_of(self._call, kernel, tuple(x.shape[2:])), most, seed)

    def _windows_1d(self, x: Tensor) -> Windows:
        flat = windows_of(self._call, tuple(self.weight.shape[2:]), tuple(x.shape[2:]))
        return Windows((1, *flat.kernel), (1, *flat.strides), (1, *flat.dilations), (0, *flat.before), (0, *flat.after))

    def _conv_rows(self, x: Tensor, y: Tensor, windows: Windows, most: int, seed: int) -> tuple[Tensor, Tensor]:
        x = padded(x, windows.before, windows.after)
        (height, width), (down, right) = windows.extents, windows.strides
        views = x.unfold(2, height, down).unfold(3, width, right)
        views = views[..., :: windows.dilations[0], :: windows.dilations[1]]
        high, wide = y.shape[2:]
        chosen = _chosen(high * wide, most, seed)
        row, column = torch.from_numpy(chosen // wide), torch.from_numpy(chosen % wide)
        patches = views[:, :, row, column]  # (n, channels, positions, kernel height, kernel width)
        n, channels, positions = patches.shape[:3]
        grouped = patches.reshape(n, self.groups, channels // self.groups, positions, -1)
        inputs = grouped.permute(1, 0, 3, 2, 4).reshape(self.groups, n * positions, -1)
        values = y[:, :, row, column].reshape(n, self.groups, -1, positions)
        return inputs, values.permute(1, 0, 3, 2).reshape(self.groups, n * positions, -1)


def _chosen(total: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    """Positions in order, at random where there are more than ``most``."""
    if total <= most:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, most, replace=False))


def linear_layers(model: ModelProto, graph: TorchGraph) -> list[LinearLayer]:
    """The layers of a model that can be reconstructed, in graph order; weights with several readers are left."""
    readers: dict[str, int] = {}
    for node in model.graph.node:
        for name in set(node.input):
            readers[name] = readers.get(name, 0) + 1
    layers = []
    for node in model.graph.node:
        if not _is_linear(node, graph) or readers[node.input[1]] != 1:
            continue
        layers.append(LinearLayer(node, model, graph))
    return layers


def _is_linear(node: NodeProto, graph: TorchGraph) -> bool:
    if len(node.input) < 2 or node.input[1] not in graph.weights or node.input[1] in graph.grids:
        return False
    if node.input[0] in graph.weights:
        return False
    rank = graph.weights[node.input[1]].dim()
    given = {a.name: a for a in node.attribute}
    if node.op_type == "Conv":
        return rank in (3, 4)
    if node.op_type == "Gemm":
        plain = all(given[name].f == 1.0 for name in ("alpha", "beta") if name in given)
        return plain and not ("transA" in given and given["transA"].i)
    return bool(node.op_type == "MatMul" and rank == 2)

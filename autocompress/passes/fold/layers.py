"""Absorbing affine maps into the layer before them: a (W x + b) + c = (a W) x + (a b + c).

Layers are Conv, ConvTranspose and Gemm with constant floating-point weights whose result only the map reads.  A weight
or bias that something else reads too is copied; else it keeps its name.  Computed in float64, stored in the weight's
own type; a map that would make a weight infinite is left alone.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from autocompress.graph.index import attribute
from autocompress.graph.rewrite import replace_nodes
from autocompress.graph.walk import is_standard
from autocompress.passes.fold.affine import FLOATS, Affine, FloatArray, affine_of
from autocompress.passes.fold.stored_weights import StoredWeights

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm"})


def absorb_affine(model: ModelProto) -> int:
    """Absorbs every BatchNormalization, Mul, Add, Sub and Div that can be, in place.

    Returns:
        How many nodes were removed.
    """
    folding = _LayerFolding(model)
    for node in model.graph.node:
        if node.op_type in _LAYERS and is_standard(node.domain):
            while folding.absorb_next(node):
                pass
    if folding.removed:
        replace_nodes(model, [node for node in model.graph.node if node.name not in folding.removed])
    return len(folding.removed)


class _LayerFolding:
    def __init__(self, model: ModelProto) -> None:
        self._stored = StoredWeights(model)
        self._index = self._stored.index
        self._weights = self._index.initializers
        self.removed: set[str] = set()

    def absorb_next(self, layer: NodeProto) -> bool:
        """Whether the only reader of the layer's result was an affine map, and is now part of the layer."""
        following = self._index.sole_consumer(layer.output[0])
        channels = self._channels(layer)
        if following is None or channels is None:
            return False
        rank = len(self._weights[layer.input[1]].dims)
        affine = affine_of(following, layer.output[0], self._weights, channels, rank)
        bias = self._bias(layer, channels)
        if affine is None or bias is None or not affine.is_finite:
            return False
        weight = _scaled_weight(layer, numpy_helper.to_array(self._weights[layer.input[1]]), affine)
        if not self._store(layer, weight, bias * affine.scale + affine.shift):
            return False
        layer.output[0] = following.output[0]
        self.removed.add(following.name)
        return True

    def _channels(self, layer: NodeProto) -> int | None:
        weight = self._weights.get(layer.input[1])
        if weight is None or weight.data_type not in FLOATS:
            return None
        if layer.op_type == "Conv":
            return int(weight.dims[0])
        if layer.op_type == "ConvTranspose":
            return int(weight.dims[1]) * _integer(layer, "group", 1)
        return int(weight.dims[0 if _integer(layer, "transB", 0) else 1])

    def _bias(self, layer: NodeProto, channels: int) -> FloatArray | None:
        """The layer's bias per channel, zeros where it has none, None where it is no constant vector."""
        name = layer.input[2] if len(layer.input) > 2 else ""
        if not name:
            return np.zeros(channels)
        if name not in self._weights:
            return None
        values = numpy_helper.to_array(self._weights[name]).astype(np.float64)
        if layer.op_type == "Gemm":
            values = values * _number(layer, "beta", 1.0)
        is_vector = values.size in (1, channels) and values.size == (values.shape[-1] if values.ndim else 1)
        return np.broadcast_to(values.reshape(-1), (channels,)) if is_vector else None

    def _store(self, layer: NodeProto, weight: FloatArray, bias: FloatArray) -> bool:
        arrays = self._stored.as_type_of(layer.input[1], weight, bias)
        if arrays is None:
            return False
        old_bias = layer.input[2] if len(layer.input) > 2 else ""
        weight_name = self._stored.own_name(layer.input[1])
        bias_name = self._stored.own_name(old_bias) if old_bias else self._stored.new_name(_bias_name(layer))
        operands = [self._stored.put(weight_name, arrays[0]), self._stored.put(bias_name, arrays[1])]
        del layer.input[1:]
        layer.input.extend(operands)
        _drop_attribute(layer, "beta")
        return True


def _scaled_weight(layer: NodeProto, weight: FloatArray, affine: Affine) -> FloatArray:
    """The weight with each output channel multiplied by its scale, in float64."""
    weight = weight.astype(np.float64)
    if layer.op_type == "Gemm":
        return weight * (affine.scale[:, None] if _integer(layer, "transB", 0) else affine.scale[None, :])
    kernel = (1,) * (weight.ndim - 2)
    if layer.op_type == "Conv":
        return weight * affine.scale.reshape(-1, 1, *kernel)
    # ConvTranspose: (input channels, output channels / groups, *kernel); group g holds the g-th part of the inputs.
    groups = _integer(layer, "group", 1)
    grouped = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    return (grouped * affine.scale.reshape(groups, 1, -1, *kernel)).reshape(weight.shape)


def _bias_name(layer: NodeProto) -> str:
    weight = layer.input[1]
    return weight.removesuffix("weight") + "bias" if weight.endswith(".weight") else f"{layer.output[0]}_bias"


def _drop_attribute(node: NodeProto, name: str) -> None:
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _integer(node: NodeProto, name: str, default: int) -> int:
    value = attribute(node, name, default)
    assert isinstance(value, int)
    return value


def _number(node: NodeProto, name: str, default: float) -> float:
    value = attribute(node, name, default)
    assert isinstance(value, float)
    return value

"""Which weights of a graph are learned, and which zeros among them have to stay."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto

from autocompress.graph.index import GraphIndex
from autocompress.graph.torch_execution.weights import Array, is_float

# Operand positions that hold learned weights, by operator.  Statistics of normalizations are not learned.
_LEARNED: dict[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1),
    "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "RMSNormalization": (1,),
    "PRelu": (1,),
    "Gather": (0,),
    "RNN": (1, 2, 3),
    "GRU": (1, 2, 3),
    "LSTM": (1, 2, 3, 7),
    "Einsum": (0, 1),
    "DequantizeLinear": (0,),
    # Biases and channel factors; single numbers belong to formulas (the 0.5 of a GELU), which fusion must recognize.
    "Add": (0, 1),
    "Mul": (0, 1),
}
_FORMULAS = frozenset({"Add", "Mul"})
_LAYERS = {"Conv": 0, "ConvTranspose": 1}


def learned_weights(model: ModelProto) -> list[str]:
    """Names of the weights worth training, in graph order; integers count where only DequantizeLinear reads them."""
    index = GraphIndex(model)
    names: dict[str, None] = {}
    for node in model.graph.node:
        for position in _LEARNED.get(node.op_type, ()):
            name = node.input[position] if position < len(node.input) else ""
            if name in index.initializers and _is_learned(index, name, node.op_type):
                names[name] = None
    return list(names)


def step_sizes(model: ModelProto) -> list[str]:
    """Names of the scales of QuantizeLinear and DequantizeLinear, those of integer biases excepted."""
    index = GraphIndex(model)
    names: dict[str, None] = {}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[1] in index.initializers:
            data = index.initializers.get(node.input[0])
            if data is None or index.weight(data.name).dtype != np.int32:
                names[node.input[1]] = None
    return list(names)


def kept_zeros(model: ModelProto, names: list[str]) -> dict[str, Array]:
    """Weight name -> boolean array, False where a weight is zero on purpose.

    Zeros of matrices and kernels are on purpose.  Those of a bias are where its output channel has no weights left; a
    bias that simply begins at zero is learned.
    """
    index = GraphIndex(model)
    masks: dict[str, Array] = {}
    for name in names:
        array = index.weight(name)
        if array.ndim >= 2 and is_float(array) and (array == 0).any():
            masks[name] = array != 0
    for node in model.graph.node:
        if node.op_type in (*_LAYERS, "Gemm") and len(node.input) > 2 and node.input[1] in masks:
            live = _live_outputs(masks[node.input[1]], node.op_type, bool(_transposed(node)))
            bias = index.weight(node.input[2])
            if live.shape == bias.shape and not live.all() and node.input[2] in names:
                masks[node.input[2]] = live | (bias != 0)
        if node.op_type == "Add":
            masks.update(_added_bias(index, node, masks, names))
    return masks


def _added_bias(index: GraphIndex, node: NodeProto, masks: dict[str, Array], names: list[str]) -> dict[str, Array]:
    """The same for a bias that an Add of its own puts on a matrix product."""
    for given, bias in ((node.input[0], node.input[1]), (node.input[1], node.input[0])):
        product = index.producers.get(given)
        if product is not None and product.op_type == "MatMul" and product.input[1] in masks and bias in names:
            live, values = masks[product.input[1]].any(axis=0), index.weight(bias)
            if live.shape == values.shape and not live.all():
                return {bias: live | (values != 0)}
    return {}


def _is_learned(index: GraphIndex, name: str, op_type: str) -> bool:
    array = index.weight(name)
    if op_type == "DequantizeLinear":
        return array.dtype.kind in "iu" and array.size > 1
    return is_float(array) and (array.size > 1 or op_type not in _FORMULAS)


def _transposed(node: NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "transB"), 0)


def _live_outputs(mask: Array, op_type: str, transposed: bool) -> Array:
    """Which output channels have a weight that is not zero."""
    axis = _LAYERS.get(op_type, 0 if transposed else 1)
    return np.asarray(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))

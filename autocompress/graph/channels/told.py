"""Sizes of tensors: what inference finds, and what the weights of layers say about their inputs."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, TensorProto

from autocompress.graph.index import attribute
from autocompress.graph.inference import declared_shapes, infer_shapes
from autocompress.graph.specs import Size
from autocompress.graph.walk import is_standard


def read_sizes(model: ModelProto) -> dict[str, tuple[Size, ...]]:
    """Tensor name -> sizes as far as known.

    Where a shape is computed from the input, inference may not see how many channels a layer reads; no other number
    would fit its weight.
    """
    sizes = dict(declared_shapes(infer_shapes(model)))
    weights = {weight.name: weight for weight in model.graph.initializer}
    for node in model.graph.node:
        told = _channels(node, weights) if is_standard(node.domain) else None
        if told is None or node.input[0] not in sizes:
            continue
        axis, size = told
        known = list(sizes[node.input[0]])
        if len(known) > abs(axis) and not isinstance(known[axis], int):
            known[axis] = size
            sizes[node.input[0]] = tuple(known)
    return sizes


def _channels(node: NodeProto, weights: dict[str, TensorProto]) -> tuple[int, int] | None:
    """The axis of a layer's input channels, and how many they are."""
    weight = weights.get(node.input[1]) if len(node.input) > 1 else None
    if weight is None or len(weight.dims) < 2:
        return None
    if node.op_type == "Conv":
        return 1, int(weight.dims[1]) * int(str(attribute(node, "group", 1)))
    if node.op_type == "ConvTranspose":
        return 1, int(weight.dims[0])
    if node.op_type == "MatMul":
        return -1, int(weight.dims[-2])
    if node.op_type == "Gemm" and not attribute(node, "transA", 0):
        return -1, int(weight.dims[1 if attribute(node, "transB", 0) else 0])
    return None

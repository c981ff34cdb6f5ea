"""Which layers of a model have a weight that can be changed for that layer alone, and why the others have none."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

import numpy as np
from onnx import ModelProto, NodeProto

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.tensors import dtype_name
from autocompress.graph.walk import is_standard

Layer = TypeVar("Layer")

MATRIX_OPS = frozenset({"Gemm", "MatMul"})
MULTIPLYING = MATRIX_OPS | {"Conv", "ConvTranspose"}


def sorted_out(
    model: ModelProto,
    obstacle: Callable[[NodeProto, GraphIndex], str],
    layer: Callable[[NodeProto, GraphIndex], Layer],
) -> tuple[dict[str, Layer], dict[str, str]]:
    """Goes through the nodes that multiply matrices or kernels.

    Args:
        model: normalized.
        obstacle: why a node is left alone; "" where it is not.
        layer: what is known of a node that is not left alone.

    Returns:
        Node name -> layer, in graph order; and node name -> why it is left alone, for the others.
    """
    index = GraphIndex(model)
    layers: dict[str, Layer] = {}
    left_alone: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in MULTIPLYING or not is_standard(node.domain):
            continue
        reason = obstacle(node, index)
        if reason:
            left_alone[node.name] = reason
        else:
            layers[node.name] = layer(node, index)
    return layers, left_alone


def weight_obstacle(node: NodeProto, index: GraphIndex, kinds: Collection[int]) -> str:
    """Why the weight of a layer cannot be changed for that layer alone; "" where it can.

    Args:
        node: a Gemm, MatMul or convolution.
        index: of its graph.
        kinds: ONNX element types that a weight may have.
    """
    name = node.input[1]
    weight = index.initializers.get(name)
    if weight is None:
        return "its weight is computed in the graph"
    if index.is_constant(node.input[0]):
        return "its first operand is constant"
    readers = index.consumers.get(name, [])
    if len(readers) != 1 or list(readers[0].input).count(name) != 1 or name in index.outputs:
        return "its weight is shared"
    if weight.data_type not in kinds:
        return f"its weight is stored as {dtype_name(weight.data_type)}"
    if node.op_type in MATRIX_OPS and (len(weight.dims) != 2 or attribute(node, "transA", 0)):
        return "it does not multiply rows by one matrix"
    if 0 in weight.dims:
        return "its weight is empty"
    return "" if np.isfinite(index.weight(name)).all() else "its weight holds NaN or Inf"

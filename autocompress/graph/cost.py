"""Arithmetic and memory of each operator, from shapes alone: multiply-accumulates, parameters, bytes.

Counts are exact for the shapes given and say nothing about time; they feed reports, sparsity targets and the
roofline features of the latency predictors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, TensorProto

from autocompress.errors import ModelError
from autocompress.graph.inference import element_types, infer_shapes, static_shapes
from autocompress.graph.macs import multiply_accumulates
from autocompress.graph.tensors import element_count, stored_bytes
from autocompress.graph.walk import node_label

_NO_PARAMETERS = frozenset({TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING})


@dataclass(frozen=True)
class OpCost:
    """What one operator, or a whole model, takes.

    Attributes:
        macs: multiply-accumulates of matrix products and convolutions; element-wise work counts 0.
        parameters: elements of its weights, without indices, shapes and flags (int64, bool); a model's total counts
            a shared weight once.
        weight_bytes: bytes of its constants, whatever their type.
        activation_bytes: bytes of the activations it reads and writes.
    """

    macs: int = 0
    parameters: int = 0
    weight_bytes: int = 0
    activation_bytes: int = 0


@dataclass(frozen=True)
class ModelCost:
    """Costs of a model.

    Attributes:
        nodes: node name -> its cost, in graph order.
        total: sums over nodes; weights that several nodes share count once.
    """

    nodes: dict[str, OpCost]
    total: OpCost


def model_cost(model: ModelProto) -> ModelCost:
    """Costs of every node of the main graph.

    Args:
        model: normalized, with every input size a number (see ``shapes.bind``).

    Raises:
        ModelError: the shape of a tensor cannot be told, naming the first.
    """
    inferred = infer_shapes(model)
    shapes, types = static_shapes(inferred), element_types(inferred)
    weights = {weight.name for weight in model.graph.initializer}
    nodes: dict[str, OpCost] = {}
    for node in model.graph.node:
        _check_shapes(node, shapes)
        nodes[node.name] = _node_cost(node, shapes, types, weights)
    read = {name for node in model.graph.node for name in node.input} & weights
    total = OpCost(
        macs=sum(cost.macs for cost in nodes.values()),
        parameters=sum(_parameters(name, shapes, types) for name in read),
        weight_bytes=sum(stored_bytes(types[name], shapes[name]) for name in read),
        activation_bytes=sum(cost.activation_bytes for cost in nodes.values()),
    )
    return ModelCost(nodes, total)


def _check_shapes(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name in (*node.input, *node.output):
        if name and name not in shapes:
            raise ModelError(
                f"The shape of the tensor '{name}' (operator '{node.op_type}', node {node_label(node)}) does not "
                "follow from the model's inputs; fix every input size with --shape."
            )


def _node_cost(
    node: NodeProto, shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, int], weights: set[str]
) -> OpCost:
    own = {name for name in node.input if name in weights}
    activations = [name for name in dict.fromkeys((*node.input, *node.output)) if name and name not in weights]
    return OpCost(
        macs=multiply_accumulates(node, shapes),
        parameters=sum(_parameters(name, shapes, types) for name in own),
        weight_bytes=sum(stored_bytes(types[name], shapes[name]) for name in own),
        activation_bytes=sum(stored_bytes(types.get(name, 1), shapes[name]) for name in activations),
    )


def _parameters(name: str, shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, int]) -> int:
    return 0 if types[name] in _NO_PARAMETERS else element_count(shapes[name])

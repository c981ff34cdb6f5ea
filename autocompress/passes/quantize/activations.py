"""Which nodes belong to the kernel of the node before them: a bias and an activation, in whatever it is written.

An activation such as SiLU is written as several nodes (x * Sigmoid(x)).  They are found as the closed piece of graph
behind a tensor: its nodes read nothing but that tensor, each other and constants, and all that leaves it is one tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import onnx

from autocompress.graph.index import GraphIndex


def computed_activation(
    index: GraphIndex, tensor: str, written: Collection[tuple[str, ...]]
) -> tuple[list[onnx.NodeProto], str] | None:
    """The longest of some activations that is all that reads a tensor.

    Args:
        index: the graph.
        tensor: what the activation is applied to.
        written: activations, each as the op types it is written in, in graph order.

    Returns:
        (its nodes, its result), or None where there is none.
    """
    best: tuple[list[onnx.NodeProto], str] | None = None
    for nodes, result in closed_pieces(index, tensor, max(map(len, written), default=0)):
        if tuple(node.op_type for node in _in_graph_order(index, nodes)) in written:
            best = (nodes, result)
    return best


def closed_pieces(
    index: GraphIndex, tensor: str, most_nodes: int, *, joins: Callable[[onnx.NodeProto], bool] = lambda node: True
) -> Iterator[tuple[list[onnx.NodeProto], str]]:
    """The pieces of graph that are all that reads a tensor and that one tensor leaves, from the shortest on.

    Args:
        index: the graph.
        tensor: what they start from.
        most_nodes: how many nodes a piece may have.
        joins: which nodes may be part of one.

    Yields:
        (its nodes, its result).
    """
    nodes: list[onnx.NodeProto] = []
    inner = [tensor]
    for _ in range(most_nodes):
        following = _next(index, nodes, inner, joins)
        if following is None:
            return
        nodes.append(following)
        inner.append(following.output[0])
        result = _only_exit(index, nodes, inner)
        if result is not None:
            yield list(nodes), result


def bias_add(index: GraphIndex, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The Add of a constant vector that alone reads a node's result, or None."""
    follower = index.sole_consumer(node.output[0])
    if follower is None or follower.domain or follower.op_type != "Add":
        return None
    constants = [name for name in follower.input if index.is_constant(name)]
    return follower if len(constants) == 1 and len(index.initializers[constants[0]].dims) == 1 else None


def _next(
    index: GraphIndex, nodes: list[onnx.NodeProto], inner: list[str], joins: Callable[[onnx.NodeProto], bool]
) -> onnx.NodeProto | None:
    """The first node that can join: it reads only tensors within, and constants."""
    joined = {node.name for node in nodes}
    for name in inner:
        for reader in index.consumers.get(name, []):
            own = all(not n or n in inner or index.is_constant(n) for n in reader.input)
            if reader.name not in joined and own and not reader.domain and len(reader.output) == 1 and joins(reader):
                return reader
    return None


def _only_exit(index: GraphIndex, nodes: list[onnx.NodeProto], inner: list[str]) -> str | None:
    """The one tensor that leaves the piece, if it is the result of the last of its nodes."""
    joined = {node.name for node in nodes}
    leaving = [
        name
        for name in inner
        if name in index.outputs or not all(reader.name in joined for reader in index.consumers.get(name, []))
    ]
    return leaving[0] if len(leaving) == 1 and leaving[0] == nodes[-1].output[0] else None


def _in_graph_order(index: GraphIndex, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    joined = {node.name for node in nodes}
    return [node for node in index.graph.node if node.name in joined]

"""Sums as flat lists: (a + b) + (c + d) has the summands a, b, c, d."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, helper

from autocompress.graph.index import GraphIndex
from autocompress.graph.rewrite import free_name, replace_nodes
from autocompress.graph.walk import is_standard
from autocompress.passes.fold.stored_weights import StoredWeights

_ADDING = frozenset({"Add", "Sum"})


@dataclass(frozen=True)
class Sum:
    """A tree of additions.

    Attributes:
        root: the node that computes the sum.
        inner: names of the other additions, whose results nothing else reads.
        leaves: summands, from left to right.
    """

    root: NodeProto
    inner: tuple[str, ...]
    leaves: tuple[str, ...]


def sums(model: ModelProto) -> list[Sum]:
    """Every largest tree of additions, in graph order."""
    index = GraphIndex(model)
    found = []
    for node in model.graph.node:
        reader = index.sole_consumer(node.output[0]) if _adds(node) else None
        if _adds(node) and (reader is None or not _is_inner(node.output[0], reader)):
            inner: list[str] = []
            leaves = [leaf for name in node.input for leaf in _leaves(name, node, index, inner)]
            found.append(Sum(node, tuple(inner), tuple(leaves)))
    return found


def write_sum(model: ModelProto, total: Sum, conv: NodeProto, rest: Sequence[str], stored: StoredWeights) -> None:
    """Puts a convolution, and additions of what is left to it, in the place of a sum.

    The nodes that computed the other summands of the convolution are left without readers.

    Args:
        model: changed in place.
        total: the sum.
        conv: computes part of it; takes the place of the node of the same name.
        rest: summands that it does not compute.
        stored: names in use.
    """
    result = total.root.output[0]
    conv.output[0] = stored.new_name(f"{conv.output[0]}_folded") if rest else result
    nodes = [conv]
    node_names = {node.name for node in model.graph.node}
    current = conv.output[0]
    for position, leaf in enumerate(rest):
        is_last = position == len(rest) - 1
        name = total.root.name if is_last else free_name(f"{total.root.name}_folded", node_names)
        node_names.add(name)
        partial = result if is_last else stored.new_name(f"{result}_folded")
        nodes.append(helper.make_node("Add", [current, leaf], [partial], name=name))
        current = partial
    gone = {total.root.name, conv.name, *total.inner}
    kept: list[NodeProto] = []
    for node in model.graph.node:
        if node.name == total.root.name:
            kept.extend(nodes)
        elif node.name not in gone:
            kept.append(node)
    replace_nodes(model, kept)


def _adds(node: NodeProto) -> bool:
    return node.op_type in _ADDING and is_standard(node.domain)


def _is_inner(tensor: str, reader: NodeProto) -> bool:
    return _adds(reader) and list(reader.input).count(tensor) == 1


def _leaves(tensor: str, reader: NodeProto, index: GraphIndex, inner: list[str]) -> list[str]:
    node = index.producers.get(tensor)
    alone = node is not None and _adds(node) and index.sole_consumer(tensor) is not None
    if node is None or not alone or not _is_inner(tensor, reader):
        return [tensor]
    inner.append(node.name)
    return [leaf for name in node.input for leaf in _leaves(name, node, index, inner)]

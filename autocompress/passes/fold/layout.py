"""Operators that only move or reinterpret data: chains become one, and those that do nothing go."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnx import ModelProto, NodeProto, helper

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.walk import is_standard

_KEEPS_ORDER = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


def is_no_op(
    model: ModelProto, shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, int]
) -> Callable[[NodeProto], bool]:
    """A predicate: the node's result equals its first input.

    Args:
        model: the graph that the nodes belong to.
        shapes: tensor name -> shape, where every size is known.
        types: tensor name -> ONNX element type, where known.
    """
    index = GraphIndex(model)

    def no_op(node: NodeProto) -> bool:
        if not is_standard(node.domain) or not node.input:
            return False
        given, result = node.input[0], node.output[0]
        if node.op_type == "Transpose":
            perm = _permutation(node)
            return perm is not None and perm == sorted(perm)
        if node.op_type == "Cast":
            return given in types and types[given] == attribute(node, "to")
        if node.op_type in _KEEPS_ORDER:
            return given in shapes and shapes[given] == shapes.get(result)
        if node.op_type == "Pad":
            return len(node.input) > 1 and node.input[1] in index.initializers and not index.weight(node.input[1]).any()
        return node.op_type == "Identity" or (node.op_type == "Concat" and len(node.input) == 1)

    return no_op


def merge_reshapes(model: ModelProto) -> int:
    """Lets a Reshape to a constant shape read what the shape-only operators before it read, in place.

    A target with zeros ("same as input") depends on the operator before it and is left.

    Returns:
        How many Reshapes changed.
    """
    index = GraphIndex(model)
    changed = 0
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.input[1] not in index.initializers:
            continue
        if (index.weight(node.input[1]) == 0).any():
            continue
        before = index.producers.get(node.input[0])
        while before is not None and before.op_type in _KEEPS_ORDER and is_standard(before.domain):
            node.input[0] = before.input[0]
            before = index.producers.get(node.input[0])
            changed += 1
    return changed


def merge_transposes(model: ModelProto) -> int:
    """Lets a Transpose of a Transpose apply the composed permutation to the original, in place.

    Returns:
        How many Transposes changed.
    """
    index = GraphIndex(model)
    changed = 0
    for node in model.graph.node:
        before = index.producers.get(node.input[0]) if node.op_type == "Transpose" else None
        while before is not None and before.op_type == "Transpose":
            inner, outer = _permutation(before), _permutation(node)
            if inner is None or outer is None:
                break
            _set_permutation(node, [inner[axis] for axis in outer])
            node.input[0] = before.input[0]
            before = index.producers.get(node.input[0])
            changed += 1
    return changed


def _permutation(node: NodeProto) -> list[int] | None:
    """The explicit permutation; None where the node reverses dimensions without saying how many there are."""
    perm = attribute(node, "perm")
    return [int(axis) for axis in perm] if isinstance(perm, list) else None


def _set_permutation(node: NodeProto, perm: list[int]) -> None:
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("perm", perm))

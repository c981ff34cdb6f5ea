"""Operators that only move or reinterpret data: chains become one."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, helper

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.walk import is_standard

_KEEPS_ORDER = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


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

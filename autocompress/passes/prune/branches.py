"""Residual branches: y = x + f(x) becomes y = x, and everything that only f needs is gone.

A branch is the summand of an Add of equal shapes that is computed from the other summand.  What is left computes
something else, as with channels that go; but a few blocks of a deep network can be spared (Veit et al., "Residual
Networks Behave Like Ensembles of Relatively Shallow Networks", NeurIPS 2016), and layers too narrow for a narrower form
to be faster can only be saved whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from autocompress.errors import RecipeError
from autocompress.graph.index import GraphIndex
from autocompress.graph.inference import declared_shapes, drop_annotations, infer_shapes
from autocompress.graph.model import copy_model
from autocompress.graph.rewrite import bypass, drop_dead
from autocompress.graph.specs import Size

_IDEMPOTENT = frozenset({"Relu"})


@dataclass(frozen=True)
class Branch:
    """One residual branch.

    Attributes:
        name: of the Add.
        shortcut: the tensor that stays.
        nodes: names of the nodes that go with the branch, the Add among them.
    """

    name: str
    shortcut: str
    nodes: frozenset[str]


def find_branches(model: ModelProto) -> dict[str, Branch]:
    """The residual branches of a model, in graph order.

    Args:
        model: normalized and folded; not changed.
    """
    shapes = declared_shapes(infer_shapes(model))
    index = GraphIndex(model)
    found = {}
    for node in model.graph.node:
        if node.op_type != "Add" or node.output[0] in index.outputs:
            continue
        shortcut = next((name for name in node.input if _is_shortcut(node, name, index)), None)
        if shortcut is not None and _are_equal([shapes.get(name) for name in node.input]):
            found[node.name] = Branch(node.name, shortcut, _nodes_of(model, node.name, shortcut))
    return found


def without_branches(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """A copy without some branches.

    Args:
        model: normalized and folded; not changed.
        names: of the branches.

    Raises:
        RecipeError: the model has no such branch.
    """
    index = GraphIndex(model)
    shortcuts = {}
    for name in names:
        node = index.nodes.get(name)
        summands = node.input if node is not None and node.op_type == "Add" else ()
        shortcut = next((tensor for tensor in summands if _is_shortcut(node, tensor, index)), None)
        if shortcut is None:
            raise RecipeError(f"prune step: {name!r} adds no residual branch; name an Add of this very model that does")
        shortcuts[name] = shortcut
    result = _joined(model, shortcuts)
    _drop_repeated(result)
    drop_annotations(result)
    return result


def _joined(model: ModelProto, shortcuts: dict[str, str]) -> ModelProto:
    result = copy_model(model)
    for node in result.graph.node:
        if node.name in shortcuts:
            node.input[0] = shortcuts[node.name]
    bypass(result, lambda node: node.name in shortcuts)
    drop_dead(result)
    return result


def _drop_repeated(model: ModelProto) -> None:
    """Activations of what has just been through the same one do nothing."""
    producers = {name: node for node in model.graph.node for name in node.output}

    def repeats(node: NodeProto) -> bool:
        before = producers.get(node.input[0]) if node.op_type in _IDEMPOTENT else None
        return before is not None and before.op_type == node.op_type

    bypass(model, repeats)


def _is_shortcut(node: NodeProto, name: str, index: GraphIndex) -> bool:
    """Whether the other summand of an Add is computed from this one."""
    others = [other for other in node.input if other != name]
    return not index.is_constant(name) and len(others) == 1 and _depends(others[0], name, index)


def _are_equal(shapes: Sequence[tuple[Size, ...] | None]) -> bool:
    """Whether shapes are known to be the same."""
    return len(set(shapes)) == 1 and all(shape is not None and None not in shape for shape in shapes)


def _depends(name: str, wanted: str, index: GraphIndex) -> bool:
    seen: set[str] = set()
    left = [name]
    while left:
        producer = index.producers.get(left.pop())
        for read in () if producer is None else producer.input:
            if read == wanted:
                return True
            if read and read not in seen:
                seen.add(read)
                left.append(read)
    return False


def _nodes_of(model: ModelProto, name: str, shortcut: str) -> frozenset[str]:
    left = {node.name for node in _joined(model, {name: shortcut}).graph.node}
    return frozenset(node.name for node in model.graph.node if node.name not in left)

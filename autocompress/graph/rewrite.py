"""Small graph rewrites, in place, that every pass builds on.  None changes what graph outputs compute or are called.

Each takes the model, works on its main graph (bodies of control flow only have their references renamed) and is
deterministic: nodes keep their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from autocompress.errors import ModelError
from autocompress.graph.tensors import densify
from autocompress.graph.walk import all_graphs, is_standard, names_read, rename_reads


def drop_dead(model: ModelProto) -> None:
    """Removes nodes that no output depends on, then weights that nobody reads."""
    graph = model.graph
    needed = {output.name for output in graph.output}
    alive: list[NodeProto] = []
    for node in reversed(graph.node):
        if any(name in needed for name in node.output if name):
            alive.append(node)
            needed |= names_read(node)
    if len(alive) != len(graph.node):
        _replace(graph.node, list(reversed(alive)))
    if any(weight.name not in needed for weight in graph.initializer):
        _replace(graph.initializer, [weight for weight in graph.initializer if weight.name in needed])


def replace_nodes(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    """Gives the main graph other nodes, which may be some of its own."""
    _replace(model.graph.node, list(nodes))


def bypass(model: ModelProto, is_alias: Callable[[NodeProto], bool]) -> None:
    """Removes nodes whose first output equals their first input, wherever no name of a graph output is lost.

    A removed node's readers read its input instead.  Where the node computes a graph output, the producer of its
    input takes that name over, if it is a node and its result is no graph output itself; else the node stays.
    """
    graph = model.graph
    outputs = {output.name for output in graph.output}
    computed = {name for node in graph.node for name in node.output if name}
    renamed: dict[str, str] = {}
    kept: list[NodeProto] = []
    for node in graph.node:
        rename_reads([node], renamed)
        if not is_alias(node):
            kept.append(node)
            continue
        source, result = node.input[0], node.output[0]
        if result not in outputs:
            renamed[result] = source
        elif source in computed and source not in outputs and _take_name(kept, source, result):
            renamed.update({old: result for old, new in renamed.items() if new == source})
            renamed[source] = result
            computed.add(result)
        else:
            kept.append(node)
    _replace(graph.node, kept)


def _take_name(nodes: Iterable[NodeProto], old: str, new: str) -> bool:
    """Lets the producer of ``old`` call it ``new``, and earlier readers read it so."""
    nodes = list(nodes)
    for node in nodes:
        for position, name in enumerate(node.output):
            if name == old:
                node.output[position] = new
                rename_reads(nodes, {old: new})
                return True
    return False


def sort_nodes(model: ModelProto) -> None:
    """Puts nodes in an order in which each follows its producers; a sorted graph is left as it is.

    Raises:
        ModelError: the graph has a cycle.
    """
    graph = model.graph
    pending = list(graph.node)
    missing = {name for node in pending for name in node.output if name}
    ordered: list[NodeProto] = []
    while pending:
        blocked: list[NodeProto] = []
        for node in pending:
            if names_read(node) & missing:
                blocked.append(node)
            else:
                ordered.append(node)
                missing.difference_update(node.output)
        if len(blocked) == len(pending):
            raise ModelError(f"The model's graph has a cycle through the tensor '{blocked[0].output[0]}'.")
        pending = blocked
    _replace(graph.node, ordered)


def name_nodes(model: ModelProto) -> None:
    """Gives every node of the main graph a unique name; a first holder of a name keeps it.

    A new name derives from the tensor that the node computes, so it stays the same when other nodes come or go.
    """
    taken: set[str] = {node.name for node in model.graph.node if node.name}
    seen: set[str] = set()
    for node in model.graph.node:
        if not node.name or node.name in seen:
            result = next((name for name in node.output if name), "")
            node.name = free_name(f"{node.op_type}_{result}", taken)
            taken.add(node.name)
        seen.add(node.name)


def strip_annotations(model: ModelProto) -> None:
    """Removes doc strings and metadata of everything inside the graph (exporters put stack traces there)."""
    for graph in all_graphs(model.graph):
        for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
            part.ClearField("doc_string")
            part.ClearField("metadata_props")


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """``wanted``, or the first of wanted_1, wanted_2, ... that is not taken."""
    names = taken if isinstance(taken, (set, frozenset)) else set(taken)
    name, count = wanted, 0
    while name in names:
        count += 1
        name = f"{wanted}_{count}"
    return name


def tensor_names(model: ModelProto) -> set[str]:
    """Every tensor name in use anywhere in a model."""
    names: set[str] = set()
    for graph in all_graphs(model.graph):
        names.update(value.name for value in (*graph.input, *graph.output))
        names.update(weight.name for weight in graph.initializer)
        for node in graph.node:
            names.update(node.input)
            names.update(node.output)
    return names


def constants_to_weights(graph: GraphProto) -> None:
    """Turns Constant nodes into initializers of the same name, in this graph and its bodies."""
    for inner in list(all_graphs(graph)):
        constants = [node for node in inner.node if node.op_type == "Constant" and is_standard(node.domain)]
        if not constants:
            continue
        inner.initializer.extend(constant_tensor(node) for node in constants)
        _replace(inner.node, [n for n in inner.node if not (n.op_type == "Constant" and is_standard(n.domain))])


def constant_tensor(node: NodeProto) -> TensorProto:
    """The value of a Constant node as a tensor that carries the name of its output.

    Raises:
        ModelError: the node has no value.
    """
    name = node.output[0]
    for attribute in node.attribute:
        if attribute.name == "value":
            tensor = TensorProto()
            tensor.CopyFrom(attribute.t)
            tensor.name = name
            return tensor
        if attribute.name == "sparse_value":
            return numpy_helper.from_array(densify(attribute.sparse_tensor), name)
        if attribute.name in _CONSTANT_FIELDS:
            return numpy_helper.from_array(_CONSTANT_FIELDS[attribute.name](attribute), name)
    raise ModelError(f"The Constant node that computes '{name}' has no value; export the model again.")


_CONSTANT_FIELDS: dict[str, Callable[..., npt.NDArray[np.generic]]] = {
    "value_float": lambda a: np.asarray(a.f, dtype=np.float32),
    "value_floats": lambda a: np.asarray(list(a.floats), dtype=np.float32),
    "value_int": lambda a: np.asarray(a.i, dtype=np.int64),
    "value_ints": lambda a: np.asarray(list(a.ints), dtype=np.int64),
    "value_string": lambda a: np.asarray(a.s, dtype=object),
    "value_strings": lambda a: np.asarray(list(a.strings), dtype=object),
}


def _replace(field: object, items: list[object]) -> None:
    del field[:]  # type: ignore[attr-defined]
    field.extend(items)  # type: ignore[attr-defined]

"""The executed operators of one compiled model: unique names, signatures, and what they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from autocompress.runtimes.openvino_given import GivenModel
from autocompress.runtimes.openvino_graph import ExecutedGraph, ExecutedNode
from autocompress.runtimes.openvino_owners import owned_nodes
from autocompress.runtimes.openvino_signature import leader_of, signature_of_executed
from autocompress.runtimes.protocol import ExecutedOp


def operators_of(graph: ExecutedGraph, given: GivenModel, network: Any) -> list[ExecutedOp]:
    """The operators in execution order; none can be cut out.

    Args:
        graph: what was executed.
        given: the given model.
        network: the model in OpenVINO's own form, with the sizes it was compiled for.
    """
    owned = owned_nodes(given, graph)
    products = _products(network, given)
    sources = [_sources(node, given, positions) for node, positions in zip(graph.nodes, owned, strict=True)]
    names = _names(graph.nodes, sources)
    feeding = _feeding(graph.nodes)
    return [
        ExecutedOp(
            name,
            signature_of_executed(node, given, positions, products),
            stands_for,
            reads=feeding.get(node.name, ()),
            writes=(node.name,),
        )
        for name, node, positions, stands_for in zip(names, graph.nodes, owned, sources, strict=True)
    ]


def _feeding(nodes: Sequence[ExecutedNode]) -> dict[str, tuple[str, ...]]:
    """Name of a node -> names of the executed nodes whose results it reads."""
    found: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        for reader in node.readers:
            found[reader] = (*found.get(reader, ()), node.name)
    return found


def _sources(node: ExecutedNode, given: GivenModel, owned: Sequence[int]) -> tuple[str, ...]:
    """Names of given nodes, best match first; for a reorder, what it serves."""
    leader = leader_of(node, given, owned)
    named = [given.named_in(name) for name in (*node.originals, *node.readers)]
    # Readers only speak for a node that has no name of its own.
    named = named[: len(node.originals)] if owned else named
    order = [p for p in (leader, *named, *owned) if p is not None]
    return tuple(dict.fromkeys(given.names[p] for p in order))


def _names(nodes: Sequence[ExecutedNode], sources: Sequence[tuple[str, ...]]) -> list[str]:
    """What each is called: after what it stands for, never by the numbers that OpenVINO makes up anew each time."""
    seen: set[str] = set()
    names = []
    for position, (node, stands_for) in enumerate(zip(nodes, sources, strict=True)):
        name = stands_for[0] if stands_for else node.layer
        if stands_for and not node.originals:
            name = f"{node.layer} before {name}"
        if name in seen:
            name = f"{name}#{position}"
        seen.add(name)
        names.append(name)
    return names


def _products(network: Any, given: GivenModel) -> dict[int, int]:
    """Multiply-adds of the matrix products, by position of the given node."""
    found = {}
    for native in network.get_ordered_ops():
        position = given.named_in(native.get_friendly_name())
        if position is not None and (amount := _multiply_adds(native)):
            found[position] = amount
    return found


def _multiply_adds(native: Any) -> int:
    """Of one given matrix product; 0 for everything else, and where sizes are open."""
    kind, ports = native.get_type_name(), [*native.inputs(), *native.outputs()]
    if kind not in ("MatMul", "Einsum") or not all(port.get_partial_shape().is_static for port in ports):
        return 0
    *operands, result = (tuple(d.get_length() for d in port.get_partial_shape()) for port in ports)
    if kind == "MatMul":
        left = operands[0]
        return int(prod(result) * (left[-2 if native.get_attributes()["transpose_a"] else -1] if len(left) > 1 else 0))
    terms = str(native.get_attributes()["equation"]).replace(" ", "").partition("->")[0].split(",")
    if [len(term) for term in terms] != [len(operand) for operand in operands] or len(operands) != 2:
        return 0  # written with an ellipsis, or no product of two
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        sizes.update(zip(term, operand, strict=True))
    return prod(sizes.values())

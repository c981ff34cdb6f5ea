"""Which given nodes each executed node stands for.

OpenVINO names most of them.  Those that vanished without a trace (the Sigmoid of x * Sigmoid(x), the MatMul before a
bias Add) belong to the executed node that stands for what reads them, else for what they read.
"""

from __future__ import annotations

from collections.abc import Sequence

from autocompress.runtimes.openvino_given import GivenModel
from autocompress.runtimes.openvino_graph import ExecutedGraph


def owned_nodes(given: GivenModel, graph: ExecutedGraph) -> list[list[int]]:
    """Positions of the given nodes that each executed node stands for, in graph order.

    A given node that needs no execution, or is computed when the model is compiled, belongs to none; nor does a
    DequantizeLinear that is not named, since it is part of how its readers compute.
    """
    owner: dict[int, int] = {}
    found: list[set[int]] = [set() for _ in graph.nodes]
    for executed, node in enumerate(graph.nodes):
        for name in node.originals:
            position = given.named_in(name)
            if position is not None:
                owner.setdefault(position, executed)
                found[executed].add(position)
    free = {given.named_in(name) for name in graph.idle} - owner.keys()
    silent = [p for p in range(len(given.nodes)) if p not in owner and p not in free and p not in given.precomputed]
    readers, producers = _neighbours(given)
    for position in reversed(silent):
        _join(position, readers[position], owner)
    for position in silent:
        if position not in owner:
            _join(position, producers[position], owner)
    unnamed = {p for p in silent if given.nodes[p].op_type == "DequantizeLinear"}
    for position in owner.keys() - unnamed:
        found[owner[position]].add(position)
    return [sorted(positions) for positions in found]


def _join(position: int, neighbours: Sequence[int], owner: dict[int, int]) -> None:
    executed = next((owner[n] for n in neighbours if n in owner), None)
    if executed is not None:
        owner[position] = executed


def _neighbours(given: GivenModel) -> tuple[list[list[int]], list[list[int]]]:
    """Positions of the readers and of the producers of each given node."""
    readers: list[list[int]] = [[] for _ in given.nodes]
    producers: list[list[int]] = [[] for _ in given.nodes]
    makers: dict[str, int] = {}
    for position, node in enumerate(given.nodes):
        for name in node.input:
            if name in makers:
                readers[makers[name]].append(position)
                producers[position].append(makers[name])
        makers.update({name: position for name in node.output if name})
    return readers, producers

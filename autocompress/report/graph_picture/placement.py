"""Where the boxes of a directed acyclic graph stand: layers from top to bottom, few crossings.

The method of Sugiyama, Tagawa and Toda ("Methods for Visual Understanding of Hierarchical System Structures", IEEE
Transactions on Systems, Man, and Cybernetics, 1981): each node stands one layer below the lowest that it reads, an edge
that skips layers gets a point in each of them, and each layer is ordered by the mean place of its neighbours in the
layer above, then below, in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_SWEEPS = 6


@dataclass(frozen=True)
class Placement:
    """Rows and columns.

    Attributes:
        layers: from top to bottom, each from left to right: positions of nodes, and of bends at ``count`` and above.
        paths: (reader, read) -> the bends of that edge, from top to bottom.
    """

    layers: tuple[tuple[int, ...], ...]
    paths: dict[tuple[int, int], tuple[int, ...]]


def place(reads: Sequence[Sequence[int]]) -> Placement:
    """Places a graph.

    Args:
        reads: for each node, the nodes that it reads; each stands before it.

    Raises:
        ValueError: when a node reads one that does not stand before it.
    """
    depth = _depths(reads)
    layers: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for node, layer in enumerate(depth):
        layers[layer].append(node)
    above: dict[int, list[int]] = {node: [] for node in range(len(reads))}
    paths, bends = {}, len(reads)
    for node, sources in enumerate(reads):
        for source in dict.fromkeys(sources):
            chain = list(range(bends, bends + depth[node] - depth[source] - 1))
            bends += len(chain)
            paths[node, source] = tuple(chain)
            for layer, bend in enumerate(chain, depth[source] + 1):
                layers[layer].append(bend)
            for lower, upper in zip([*chain, node], [source, *chain], strict=True):
                above.setdefault(lower, []).append(upper)
    _untangle(layers, above)
    return Placement(tuple(map(tuple, layers)), paths)


def _depths(reads: Sequence[Sequence[int]]) -> list[int]:
    depth: list[int] = []
    for node, sources in enumerate(reads):
        if any(not 0 <= source < node for source in sources):
            raise ValueError(f"node {node} reads a node that does not stand before it")
        depth.append(1 + max((depth[source] for source in sources), default=-1))
    return depth


def _untangle(layers: list[list[int]], above: dict[int, list[int]]) -> None:
    below: dict[int, list[int]] = {}
    for lower, uppers in above.items():
        for upper in uppers:
            below.setdefault(upper, []).append(lower)
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        order = range(1, len(layers)) if downwards else range(len(layers) - 2, -1, -1)
        for layer in order:
            neighbours = above if downwards else below
            fixed = {node: i for i, node in enumerate(layers[layer - 1 if downwards else layer + 1])}
            layers[layer] = _by_mean_place(layers[layer], neighbours, fixed)


def _by_mean_place(nodes: list[int], neighbours: dict[int, list[int]], fixed: dict[int, int]) -> list[int]:
    place_of = {}
    for i, node in enumerate(nodes):
        places = [fixed[n] for n in neighbours.get(node, ()) if n in fixed]
        place_of[node] = sum(places) / len(places) if places else float(i)
    return sorted(nodes, key=lambda node: place_of[node])

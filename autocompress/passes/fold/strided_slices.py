"""Strided Slices that take one position of each block along spatial axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from autocompress.graph.index import GraphIndex
from autocompress.graph.specs import Size
from autocompress.graph.walk import is_standard

_ENDLESS = 2**31 - 1  # exporters write the largest integer, of 32 or 64 bits, for "to the end"


@dataclass(frozen=True)
class Subsampled:
    """What chained Slices take: positions start, start + step, ... along each spatial axis, to the end.

    Attributes:
        source: the tensor that the first of them reads.
        starts: one per spatial axis.
        steps: one per spatial axis.
        nodes: names of the Slices.
    """

    source: str
    starts: tuple[int, ...]
    steps: tuple[int, ...]
    nodes: frozenset[str]


def follow_slices(tensor: str, rank: int, index: GraphIndex, sizes: Mapping[str, Sequence[Size]]) -> Subsampled | None:
    """The Slices behind a tensor, as far as each takes one position of every block; None where there are none.

    Args:
        tensor: its name.
        rank: number of its dimensions, batch and channels first.
        index: the graph.
        sizes: tensor name -> sizes, as far as known; an axis of unknown size counts as one of whole blocks.
    """
    starts, steps = [0] * (rank - 2), [1] * (rank - 2)
    nodes: set[str] = set()
    while True:
        node = index.producers.get(tensor)
        taken = None if node is None else _taken(node, rank, index, sizes)
        if node is None or taken is None:
            break
        # What a later Slice calls position i is i * step + start to this one.
        for axis, (start, step) in taken.items():
            starts[axis], steps[axis] = starts[axis] * step + start, steps[axis] * step
        nodes.add(node.name)
        tensor = node.input[0]
    return Subsampled(tensor, tuple(starts), tuple(steps), frozenset(nodes)) if nodes else None


def _taken(
    node: NodeProto, rank: int, index: GraphIndex, sizes: Mapping[str, Sequence[Size]]
) -> dict[int, tuple[int, int]] | None:
    """Spatial axis -> (start, step) of a Slice that takes one position of every block along each of its axes."""
    if node.op_type != "Slice" or not is_standard(node.domain):
        return None
    names = [*node.input[1:], "", ""][:4]
    if any(name and not index.is_constant(name) for name in names):
        return None
    starts, ends, axes, steps = (index.weight(name).reshape(-1) if name else None for name in names)
    assert starts is not None
    assert ends is not None
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts)) if steps is None else steps
    given = sizes.get(node.input[0], ())
    found: dict[int, tuple[int, int]] = {}
    for start, end, axis, step in zip(*(map(int, numbers) for numbers in (starts, ends, axes, steps)), strict=True):
        place = axis % rank
        size = given[place] if place < len(given) else None
        if place < 2 or not 0 <= start < step or not _reaches_end(start, end, step, size):
            return None
        found[place - 2] = (start, step)
    return found


def _reaches_end(start: int, end: int, step: int, size: Size) -> bool:
    """Whether a Slice takes its position of every block, the last too, and the size is one of whole blocks."""
    if not isinstance(size, int):
        return end >= _ENDLESS
    last = size - step + start
    return size % step == 0 and (end + size if end < 0 else end) > last

"""Finding tensors whose channels are the phases of an image: space-to-depth, in each of the ways that it is written.

    y[n, k, i, j] = x[n, c, s i + p, t j + q]        for each channel k another cell (c, p, q), all of them used once

Such a y is the polyphase decomposition of x by blocks of s x t.  Exporters write it as strided Slices that a Concat
joins (the Focus stem of YOLOv5 and YOLOX), as the operator SpaceToDepth, or as Reshape, Transpose, Reshape
(pixel_unshuffle).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.specs import Size
from autocompress.graph.walk import is_standard
from autocompress.passes.fold.strided_slices import follow_slices

Sizes = Mapping[str, Sequence[Size]]


@dataclass(frozen=True)
class Polyphase:
    """How a tensor is made of the phases of another.

    Attributes:
        source: the other tensor.
        blocks: size of a block along each spatial axis.
        cells: integers of shape (channels, 1 + spatial axes): the channel of the source and the position within the
            block that each channel takes; every cell once.
        nodes: names of the nodes that compute the tensor from the source.
    """

    source: str
    blocks: tuple[int, ...]
    cells: npt.NDArray[np.int64]
    nodes: frozenset[str]


def polyphase_of(tensor: str, channels: int, rank: int, index: GraphIndex, sizes: Sizes) -> Polyphase | None:
    """How a tensor is made of the phases of another, or None where it is not, or others read what lies between.

    Args:
        tensor: its name.
        channels: how many it has.
        rank: number of its dimensions, batch and channels first.
        index: the graph.
        sizes: tensor name -> sizes, as far as known.
    """
    node = index.producers.get(tensor)
    form = _FORMS.get(node.op_type) if node is not None and is_standard(node.domain) else None
    found = form(node, channels, rank, index, sizes) if node is not None and form is not None else None
    if found is None or not _is_private(found, index):
        return None
    count = int(np.prod(found.blocks))
    whole = channels % count == 0 and len(found.cells) == channels
    expected = _grid(channels // count, found.blocks) if whole and count > 1 else None
    complete = expected is not None and {tuple(cell) for cell in found.cells} == {tuple(cell) for cell in expected}
    return found if complete else None


def _grid(channels: int, blocks: Sequence[int]) -> npt.NDArray[np.int64]:
    """Every cell, the last number running fastest."""
    return np.stack(np.meshgrid(*map(np.arange, (channels, *blocks)), indexing="ij"), -1).reshape(-1, 1 + len(blocks))


def _is_private(found: Polyphase, index: GraphIndex) -> bool:
    """Whether only one node outside reads anything that lies between."""
    results = [name for node in found.nodes for name in index.nodes[node].output if name]
    outside = {reader.name for name in results for reader in index.consumers.get(name, [])} - found.nodes
    return len(outside) == 1 and not any(name in index.outputs for name in results)


def _joined(concat: NodeProto, channels: int, rank: int, index: GraphIndex, sizes: Sizes) -> Polyphase | None:
    """Concat of strided Slices."""
    if int(str(attribute(concat, "axis"))) % rank != 1 or channels % len(concat.input):
        return None
    parts = [part for name in concat.input if (part := follow_slices(name, rank, index, sizes)) is not None]
    if len(parts) < len(concat.input) or len({(part.source, part.steps) for part in parts}) > 1:
        return None
    each = channels // len(parts)
    cells = [(channel, *part.starts) for part in parts for channel in range(each)]
    nodes = frozenset({concat.name}).union(*(part.nodes for part in parts))
    return Polyphase(parts[0].source, parts[0].steps, np.array(cells, np.int64), nodes)


def _operator(node: NodeProto, channels: int, rank: int, _index: GraphIndex, _sizes: Sizes) -> Polyphase | None:
    """SpaceToDepth: positions within the block before channels."""
    block = int(str(attribute(node, "blocksize", 1)))
    if rank != 4 or block < 1 or channels % block**2:
        return None
    return _ordered(node.input[0], channels // block**2, (block, block), (1, 2, 0), frozenset({node.name}))


def _reshaped(last: NodeProto, channels: int, rank: int, index: GraphIndex, sizes: Sizes) -> Polyphase | None:
    """Reshape, Transpose, Reshape: each spatial axis is cut into blocks, which go in some order before or behind c."""
    transpose = index.producers.get(last.input[0])
    first = None if transpose is None else index.producers.get(transpose.input[0])
    if transpose is None or first is None or (transpose.op_type, first.op_type) != ("Transpose", "Reshape"):
        return None
    # Behind the batch: c, h, w; then c, h / s, s, w / t, t; then c s t, h / s, w / t.
    given, cut, result = (_known(name, sizes) for name in (first.input[0], first.output[0], last.output[0]))
    if len(cut) != 2 * rank - 3:
        return None
    counts, blocks = cut[1::2], cut[2::2]
    whole = [cut[0], *(count * block for count, block in zip(counts, blocks, strict=True))]
    perm = attribute(transpose, "perm")
    if given != whole or result != [channels, *counts] or not isinstance(perm, list):
        return None
    moved = [int(axis) for axis in perm]
    if [moved[0], *moved[rank:]] != [0, *range(2, 2 * rank - 2, 2)]:
        return None
    order = [(axis - 1) // 2 for axis in moved[1:rank]]
    return _ordered(first.input[0], cut[0], tuple(blocks), order, frozenset({first.name, transpose.name, last.name}))


def _known(name: str, sizes: Sizes) -> list[int]:
    """Sizes behind the batch; none where any is not known."""
    given = sizes.get(name, ())[1:]
    numbers = [size for size in given if isinstance(size, int)]
    return numbers if len(numbers) == len(given) else []


def _ordered(
    source: str, channels: int, blocks: tuple[int, ...], order: Sequence[int], nodes: frozenset[str]
) -> Polyphase:
    """Every cell, by nested loops: ``order`` names them from the outermost (0: channels, 1: first spatial axis)."""
    shape = (channels, *blocks)
    cells = _grid(channels, blocks).reshape(*shape, -1).transpose(*order, len(shape)).reshape(-1, len(shape))
    return Polyphase(source, blocks, cells, nodes)


_FORMS: dict[str, Callable[[NodeProto, int, int, GraphIndex, Sizes], Polyphase | None]] = {
    "Concat": _joined,
    "SpaceToDepth": _operator,
    "Reshape": _reshaped,
}

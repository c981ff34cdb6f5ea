"""Where the numbers of shape operands come from: constants that can be adjusted, or sizes that adjust themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.tensors import element_count

_LARGEST = 64  # a shape has no more numbers than this


@dataclass(frozen=True)
class Literal:
    """One number of a stored operand.

    Attributes:
        value: the number.
        node: name of the node that reads the stored operand.
        position: of the operand.
        place: of the number in the flattened operand.
    """

    value: int
    node: str
    position: int
    place: int


@dataclass(frozen=True)
class SizeOf:
    """The size of a tensor's axis, as the running model knows it."""

    tensor: str
    axis: int


Entry = Literal | SizeOf | None
"""None stands for a number of unknown origin."""


def stored_entries(index: GraphIndex, node: NodeProto, position: int) -> tuple[Entry, ...] | None:
    """The numbers of a stored integer operand; None where it is no short list of integers."""
    name = node.input[position] if position < len(node.input) else ""
    weight = index.initializers.get(name)
    if weight is None or len(weight.dims) > 1 or element_count(weight.dims) > _LARGEST:
        return None
    values = index.weight(name)
    if values.dtype.kind not in "iu":
        return None
    flat = values.reshape(-1)
    return tuple(Literal(int(value), node.name, position, place) for place, value in enumerate(flat))


def computed_entries(
    node: NodeProto, operands: Sequence[tuple[Entry, ...] | None], ranks: Mapping[str, int]
) -> tuple[Entry, ...] | None:
    """The numbers that a node computes out of its operands' numbers.

    Args:
        node: any standard operator.
        operands: the numbers of its operands.
        ranks: tensor name -> number of axes, as far as known.
    """
    if node.op_type == "Shape":
        rank = ranks.get(node.input[0])
        if rank is None:
            return None
        start, end = (int(str(attribute(node, name, default))) for name, default in (("start", 0), ("end", rank)))
        return tuple(SizeOf(node.input[0], axis) for axis in list(range(rank))[start:end])
    first = operands[0] if operands else None
    if node.op_type == "Where":
        return _chosen(*operands)
    if node.op_type == "Equal":
        return _compared(node, *operands)
    if first is None:
        return None
    if node.op_type in ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape"):
        return first
    if node.op_type == "Concat":
        joined = [entry for operand in operands if operand is not None for entry in operand]
        return tuple(joined) if all(operand is not None for operand in operands) else None
    if node.op_type == "Gather":
        places = _numbers(operands[1])
        return None if places is None else tuple(first[place] for place in places)
    if node.op_type == "Slice":
        return _sliced(first, operands)
    return None


def _compared(
    node: NodeProto, first: tuple[Entry, ...] | None, second: tuple[Entry, ...] | None
) -> tuple[Entry, ...] | None:
    """1 or 0 where both numbers are known."""
    if first is None or second is None or len(first) != len(second):
        return None
    return tuple(
        Literal(int(a.value == b.value), node.name, 0, place)
        if isinstance(a, Literal) and isinstance(b, Literal)
        else None
        for place, (a, b) in enumerate(zip(first, second, strict=True))
    )


def _chosen(
    condition: tuple[Entry, ...] | None, first: tuple[Entry, ...] | None, second: tuple[Entry, ...] | None
) -> tuple[Entry, ...] | None:
    """What a Where chooses, as exporters write it to replace -1 by 1 in the shape of an Expand."""
    if condition is None or first is None or second is None or not len(condition) == len(first) == len(second):
        return None
    return tuple(
        (a if decided.value else b) if isinstance(decided, Literal) else None
        for decided, a, b in zip(condition, first, second, strict=True)
    )


def _sliced(first: tuple[Entry, ...], operands: Sequence[tuple[Entry, ...] | None]) -> tuple[Entry, ...] | None:
    bounds = [_numbers(operand) for operand in operands[1:]]
    if len(bounds) < 2 or any(bound is None or len(bound) != 1 for bound in (*bounds[:2], *bounds[3:])):
        return None
    start, end, step = (bounds[i][0] if i < len(bounds) else 1 for i in (0, 1, 3))  # type: ignore[index]
    return first[slice(start, end if abs(end) < np.iinfo(np.int32).max else None, step)]


def _numbers(entries: tuple[Entry, ...] | None) -> list[int] | None:
    if entries is None or not all(isinstance(entry, Literal) for entry in entries):
        return None
    return [entry.value for entry in entries if isinstance(entry, Literal)]

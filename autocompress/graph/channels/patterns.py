"""How the labels of stored weights are laid out before anything is known, and how that is refined.

A weight's axis starts with one label per index.  Where the graph splits such an axis into several (attention heads,
groups of a convolution, channel shuffle), one label per index would allow holes in a rectangle, so the axis is laid
out again with a column per part, and the analysis starts over.  Layouts only ever get more columns, so that ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autocompress.graph.channels.axis import NOTHING, Axis, IntArray, partition

Key = tuple[str, int, int]
"""A stored operand's axis: node name, operand position, axis."""

_MOST_COLUMNS = 5


@dataclass
class Patterns:
    """The layouts asked for so far.

    Attributes:
        known: weight axis -> array of shape (size, columns): equal numbers in a column are one label.
        changed: whether the last walk asked for a new one.
    """

    known: dict[Key, IntArray]
    changed: bool = False

    def of(self, key: Key, size: int) -> IntArray:
        """The layout of a weight's axis."""
        return self.known.get(key, np.arange(size)[:, None])

    def split(self, key: Key, rows: IntArray, whole: int, sizes: Sequence[int]) -> bool:
        """Lays out ``rows`` of a weight's axis of size ``whole`` for a split into ``sizes``; whether that is new."""
        before = self.of(key, whole)
        columns: list[IntArray] = []
        for column in before[rows].T:
            varying = varying_axes(column, sizes)
            if len(varying) < 2:
                columns.append(column)
            else:
                columns.extend(_along(column, sizes, axis) for axis in varying)
        if len(columns) == before.shape[1]:
            return False
        return self._store(key, before, rows, Axis(np.stack(columns, axis=1), rows).compact().labels)

    def imitate(self, key: Key, rows: IntArray, whole: int, labels: IntArray) -> bool:
        """Lays out ``rows`` of a weight's axis as another axis is, given that one's labels; whether that is new."""
        before = self.of(key, whole)
        if (before[rows] >= 0).any(axis=0).sum() >= labels.shape[1]:
            return False
        return self._store(key, before, rows, labels)

    def _store(self, key: Key, before: IntArray, rows: IntArray, columns: IntArray) -> bool:
        width = max(before.shape[1], columns.shape[1])
        if width > _MOST_COLUMNS:
            return False
        after = np.full((len(before), width), NOTHING)
        after[:, : before.shape[1]] = before
        after[rows] = NOTHING
        for i, column in enumerate(columns.T):
            own = partition(column)
            after[rows, i] = np.where(own < 0, NOTHING, own + after[:, i].max(initial=NOTHING) + 1)
        if np.array_equal(after, before):
            return False
        self.known[key] = after
        self.changed = True
        return True


def varying_axes(column: IntArray, sizes: Sequence[int]) -> list[int]:
    """Along which axes of a shape the labels of a flattened column change."""
    grid = column.reshape(tuple(sizes))
    return [axis for axis in range(grid.ndim) if (grid != grid.take([0], axis)).any()]


def _along(column: IntArray, sizes: Sequence[int], axis: int) -> IntArray:
    """The part of a column that one axis tells, for every flattened index."""
    slices = np.moveaxis(column.reshape(tuple(sizes)), axis, 0).reshape(sizes[axis], -1)
    _, kinds = np.unique(slices, axis=0, return_inverse=True)
    shape = [-1 if i == axis else 1 for i in range(len(sizes))]
    spread: IntArray = np.broadcast_to(kinds.reshape(shape), tuple(sizes)).reshape(-1).astype(np.int64)
    return spread

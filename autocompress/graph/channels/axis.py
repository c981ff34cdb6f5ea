"""One axis of a tensor, seen by what can be removed from it.

Every index of an axis carries labels.  A label stands for something that is kept or removed as a whole; an index goes
when any of its labels goes.  One column of labels is the usual case (channel i has label i); an axis of H * D numbers
that is split into H heads of D numbers has two, the head and the place in the head, so that whole heads or whole
places can go, which is what leaves a rectangle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

NOTHING = -1
"""Stands where an index carries no label in a column: it always stays."""


@dataclass(frozen=True, eq=False)
class Axis:
    """What can be removed from one axis of known size.

    Attributes:
        labels: of shape (size, columns), ``NOTHING`` where an index has no label.
        origin: of shape (size,), which element of a stored weight's axis each index is, where rearranging tells;
            otherwise ``NOTHING``.
    """

    labels: IntArray
    origin: IntArray

    @classmethod
    def plain(cls, size: int) -> Axis:
        """An axis from which nothing can be removed."""
        return cls(np.empty((size, 0), np.int64), np.full(size, NOTHING))

    @property
    def size(self) -> int:
        """Number of indices."""
        return len(self.origin)

    @property
    def columns(self) -> int:
        """Number of columns of labels."""
        return int(self.labels.shape[1])

    @property
    def is_plain(self) -> bool:
        """Whether no index has a label."""
        return not bool((self.labels >= 0).any())

    def taken(self, indices: IntArray) -> Axis:
        """The indices chosen, in their order; -1 stands for a new index without label."""
        chosen = np.asarray(indices, np.int64)
        new = chosen < 0
        labels = np.where(new[:, None], NOTHING, self.labels[np.where(new, 0, chosen)])
        return Axis(labels, np.where(new, NOTHING, self.origin[np.where(new, 0, chosen)]))

    def tiled(self, count: int) -> Axis:
        """The whole axis ``count`` times, one after the other."""
        return self.taken(np.tile(np.arange(self.size), count))

    def compact(self) -> Axis:
        """Without columns that say nothing, and without a column that repeats another."""
        kept: list[IntArray] = []
        for column in self.labels.T:
            if (column >= 0).any() and not any(np.array_equal(column, other) for other in kept):
                kept.append(column)
        labels = np.stack(kept, axis=1) if kept else np.empty((self.size, 0), np.int64)
        return Axis(labels, self.origin)

    def removed(self, is_removed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which indices go, of shape (size,), given which labels go."""
        marks = np.append(is_removed, False)
        return np.asarray(marks[self.labels].any(axis=1))


def joined(parts: Sequence[Axis]) -> Axis:
    """Axes one after the other, as Concat joins them."""
    width = max(part.columns for part in parts)
    padded = [np.pad(part.labels, ((0, 0), (0, width - part.columns)), constant_values=NOTHING) for part in parts]
    return Axis(np.concatenate(padded), np.concatenate([part.origin for part in parts]))


def product(parts: Sequence[Axis]) -> Axis:
    """One axis out of several, the last running fastest, as a reshape merges them."""
    if len(parts) == 1:
        return parts[0]
    sizes = [part.size for part in parts]
    places = np.unravel_index(np.arange(prod(sizes)), sizes)
    labels = np.concatenate([part.labels[place] for part, place in zip(parts, places, strict=True)], axis=1)
    labelled = [i for i, part in enumerate(parts) if not part.is_plain]
    origin = np.full(len(labels), NOTHING)
    if len(labelled) == 1:
        origin = parts[labelled[0]].origin[places[labelled[0]]]
    return Axis(labels, origin).compact()


def partition(column: IntArray) -> IntArray:
    """The same column with labels renamed in order of appearance from 0, so that equal structures are equal arrays."""
    _, first, inverse = np.unique(column, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    renamed: IntArray = np.where(column < 0, NOTHING, order[inverse.reshape(-1)])
    return renamed

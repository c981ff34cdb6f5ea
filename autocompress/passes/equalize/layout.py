"""Which channel each element of a tensor belongs to, and what becomes of that when the tensor is rearranged.

A layout is an integer array that broadcasts against the tensor: it has one axis per axis of the tensor, of size 1
where the channel does not change along that axis.  The output of a convolution with 8 channels has the layout
``[[[0]], [[1]], ... [[7]]]`` of shape (1, 8, 1, 1); flattened behind 2x2 pixels it is ``[[0, 0, 0, 0, 1, ... 7]]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from autocompress.graph.specs import Size

IdArray = npt.NDArray[np.int64]

OUTSIDE = -1
"""Stands for an element that belongs to none of the channels (another operand of a Concat)."""


class Layout:
    """The channel of every element; two layouts are equal when they say the same.

    Attributes:
        ids: channel numbers or ``OUTSIDE``; axes along which nothing changes have size 1.
    """

    def __init__(self, ids: IdArray) -> None:
        for axis, size in enumerate(ids.shape):
            first = ids.take([0], axis)
            if size > 1 and (ids == first).all():
                ids = first
        self.ids = ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and bool(np.array_equal(self.ids, other.ids))

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def along(cls, axis: int, rank: int, ids: IdArray) -> Layout:
        """Channels that change along one axis only."""
        return cls(ids.reshape([-1 if i == axis % rank else 1 for i in range(rank)]))

    @property
    def rank(self) -> int:
        """Number of axes."""
        return self.ids.ndim

    def varies(self, axis: int) -> bool:
        """Whether the channel changes along an axis."""
        return bool(self.ids.shape[axis] > 1)

    def fits(self, sizes: Sequence[Size]) -> bool:
        """Whether a tensor of these sizes has every axis along which the channel changes."""
        pairs = zip(self.ids.shape, sizes, strict=False)
        return len(sizes) == self.rank and all(own == 1 or own == size for own, size in pairs)

    def vector(self, axis: int, size: int) -> IdArray | None:
        """Channel per index of an axis of ``size``, or None where it changes along another axis too."""
        others = [i for i in range(self.rank) if i != axis % self.rank]
        if any(self.varies(i) for i in others) or self.ids.size not in (1, size):
            return None
        return np.broadcast_to(self.ids.reshape(-1), (size,))

    @classmethod
    def joined(cls, parts: Sequence[Layout | None], sizes: Sequence[int], axis: int) -> Layout:
        """After a Concat of operands of the given sizes along its axis; None stands for one without channels."""
        known = [part.ids for part in parts if part is not None]
        shape = np.broadcast_shapes(*(ids[(slice(None),) * axis + (slice(0, 1),)].shape for ids in known))
        arrays = []
        for part, size in zip(parts, sizes, strict=True):
            ids = np.full((), OUTSIDE) if part is None else part.ids
            arrays.append(np.broadcast_to(ids, (*shape[:axis], size, *shape[axis + 1 :])))
        return cls(np.concatenate(arrays, axis=axis))

    def with_rank(self, rank: int) -> Layout:
        """The same for a tensor that broadcasting gives more leading axes."""
        return Layout(self.ids.reshape((1,) * (rank - self.rank) + self.ids.shape))

    def trailing(self, rank: int) -> Layout | None:
        """The same for an operand with fewer leading axes; None where the channel changes along a lost axis."""
        lost = self.ids.shape[: self.rank - rank]
        return None if any(size > 1 for size in lost) else Layout(self.ids.reshape(self.ids.shape[len(lost) :]))

    def without(self, axis: int) -> Layout:
        """The same after an axis along which it does not vary has been reduced to size 1 (or repeated)."""
        return Layout(self.ids.take([0], axis))

    def permuted(self, perm: Sequence[int]) -> Layout:
        """After a Transpose."""
        return Layout(self.ids.transpose(perm))

    def squeezed(self, axes: Sequence[int]) -> Layout:
        """After axes of size 1 have been removed."""
        return Layout(self.ids.squeeze(tuple(axes)))

    def unsqueezed(self, axes: Sequence[int]) -> Layout:
        """After axes of size 1 have been inserted; ``axes`` count in the result."""
        return Layout(np.expand_dims(self.ids, tuple(axes)))

    def part(self, axis: int, start: int, stop: int, step: int = 1) -> Layout:
        """After a slice along one axis; bounds as in Python."""
        if not self.varies(axis):
            return self
        index = [slice(None)] * self.rank
        index[axis] = slice(start, stop, step)
        return Layout(self.ids[tuple(index)])

    def reshaped(self, before: Sequence[Size], after: Sequence[Size]) -> Layout | None:
        """After a reshape that keeps the order of elements, or None where sizes are too little known.

        Args:
            before: sizes of the tensor; equal symbols mean equal sizes.
            after: sizes of the result.
        """
        known = [own if own > 1 else size for own, size in zip(self.ids.shape, before, strict=True)]
        head = _common(known, after)
        tail = _common(known[head:][::-1], after[head:][::-1])
        result = self._regrouped(known, after, head, tail)
        return self._regrouped_at_the_end(known, after) if result is None else result

    def _regrouped(self, before: Sequence[Size], after: Sequence[Size], head: int, tail: int) -> Layout | None:
        """The first ``head`` and the last ``tail`` axes stay, so those between hold as many elements as before."""
        inner = slice(head, self.rank - tail)
        first, last = self.ids.shape[:head], self.ids.shape[self.rank - tail :]
        targets = after[head : len(after) - tail]
        if prod(self.ids.shape[inner]) == 1:
            return Layout(self.ids.reshape((*first, *(1 for _ in targets), *last)))
        sizes = _numbers(before[inner])
        wanted = None if sizes is None else _solved(prod(sizes), targets)
        if sizes is None or wanted is None:
            return None
        return Layout(np.broadcast_to(self.ids, (*first, *sizes, *last)).reshape((*first, *wanted, *last)))

    def _regrouped_at_the_end(self, before: Sequence[Size], after: Sequence[Size]) -> Layout | None:
        """Trailing axes that hold equally many elements hold the same ones, whatever stands in front of them."""
        start = next((axis for axis in range(self.rank) if self.varies(axis)), self.rank)
        sizes = _numbers(before[start:])
        targets = None if sizes is None else _trailing(prod(sizes), after)
        if sizes is None or targets is None:
            return None
        ids = np.broadcast_to(self.ids.reshape(self.ids.shape[start:]), sizes)
        return Layout(ids.reshape((1,) * (len(after) - len(targets)) + targets))


def _common(first: Sequence[Size], second: Sequence[Size]) -> int:
    """How many leading sizes are known to agree."""
    count = 0
    for a, b in zip(first, second, strict=False):
        if a is None or a != b:
            break
        count += 1
    return count


def _numbers(sizes: Sequence[Size]) -> tuple[int, ...] | None:
    numbers = tuple(size for size in sizes if isinstance(size, int))
    return numbers if len(numbers) == len(sizes) else None


def _solved(elements: int, sizes: Sequence[Size]) -> tuple[int, ...] | None:
    """The sizes, of which one at most may be unknown, of a shape with so many elements."""
    known = prod(size for size in sizes if isinstance(size, int))
    if known == 0 or elements % known:
        return None
    solved = tuple(size if isinstance(size, int) else elements // known for size in sizes)
    return solved if prod(solved) == elements else None


def _trailing(elements: int, sizes: Sequence[Size]) -> tuple[int, ...] | None:
    """The shortest run of last sizes that hold exactly so many elements."""
    for count in range(len(sizes) + 1):
        held = _numbers(sizes[len(sizes) - count :])
        if held is None or prod(held) > elements:
            return None
        if prod(held) == elements:
            return held
    return None

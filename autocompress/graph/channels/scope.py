"""What the rules of operators read and write while the graph is walked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto

from autocompress.graph.channels.axis import NOTHING, Axis, IntArray, partition
from autocompress.graph.channels.entries import Entry, Literal, SizeOf, stored_entries
from autocompress.graph.channels.patterns import Key, Patterns, varying_axes
from autocompress.graph.channels.ties import Ties
from autocompress.graph.index import GraphIndex
from autocompress.graph.specs import Size

Axes = tuple[Axis | None, ...]
"""One per axis of a tensor; None for an axis of unknown size, from which nothing can be removed."""


class Opaque(Exception):
    """Channels cannot be followed through an operator; the message is the reason."""


@dataclass(frozen=True)
class Stored:
    """One reading of a stored operand.

    Attributes:
        axes: what can be removed from it.
        roles: what removing along each axis means: "output" and "input" channels of a layer, "bias" and "scale" per
            channel of a layer or of a constant that is added or multiplied, or "other".
    """

    axes: tuple[Axis, ...]
    roles: tuple[str, ...]


class Scope:
    """State of one walk.

    Attributes:
        index: producers, readers and weights by name.
        ties: between labels.
        axes: tensor name -> its axes.
        zeros: tensors whose removable channels are zero once the weights that compute them are.
        stored: (node name, operand position) -> how that stored operand is cut.
        entries: tensor name -> origin of its numbers, for shape arithmetic.
    """

    def __init__(self, model: ModelProto, patterns: Patterns, sizes: Mapping[str, tuple[Size, ...]]) -> None:
        self.index = GraphIndex(model)
        self.ties = Ties()
        self.axes: dict[str, Axes] = {}
        self.zeros: set[str] = set()
        self.stored: dict[tuple[str, int], Stored] = {}
        self.entries: dict[str, tuple[Entry, ...]] = {}
        self._used_numbers: dict[Literal, Axis | None] = {}
        self._patterns = patterns
        self._sizes = dict(sizes)
        self._keys: list[tuple[Key, int, int]] = []  # weight axis, its size, number of its first element
        self._elements = 0

    def sizes(self, name: str) -> tuple[Size, ...]:
        """Sizes of a tensor as far as known.

        Raises:
            Opaque: not even their number is known.
        """
        if name not in self._sizes:
            raise Opaque(f"the shape of {name!r} is not known")
        return self._sizes[name]

    def has_rank(self, name: str) -> bool:
        """Whether the number of a tensor's axes is known."""
        return name in self._sizes

    def learn_sizes(self, name: str) -> None:
        """Takes the sizes of a tensor from its axes, where inference found none."""
        axes = self.axes.get(name)
        if axes is not None:
            known = self._sizes.get(name, (None,) * len(axes))
            pairs = zip(known, axes, strict=True)
            self._sizes[name] = tuple(
                size if axis is None or isinstance(size, int) else axis.size for size, axis in pairs
            )

    def plain(self, name: str) -> Axes:
        """The axes of a tensor from which nothing can be removed."""
        return tuple(Axis.plain(size) if isinstance(size, int) else None for size in self.sizes(name))

    def positions(self, name: str, rank: int) -> Axes:
        """The axes of a result behind its channels, from which nothing can be removed."""
        return self.plain(name)[2:] if self.has_rank(name) else (None,) * (rank - 2)

    def operand(self, node: NodeProto, position: int, roles: Sequence[str] | str = "other") -> Axes:
        """The axes of an operand; a stored one gets labels of its own for this reading.

        Args:
            node: the reader.
            position: of the operand.
            roles: for a stored operand, one role or one per axis (see ``Stored``).
        """
        name = node.input[position]
        if not self.index.is_constant(name):
            if name not in self.axes:
                self.axes[name] = self.plain(name)
            return self.axes[name]
        if (node.name, position) not in self.stored:
            sizes = [int(size) for size in self.index.initializers[name].dims]
            own = (roles,) * len(sizes) if isinstance(roles, str) else tuple(roles)
            axes = tuple(self._fresh((node.name, position, axis), size) for axis, size in enumerate(sizes))
            self.stored[node.name, position] = Stored(axes, own)
            is_layer = bool({"input", "output"} & set(own))
            if is_layer and sum(size > 1 for size in sizes) > 1 and self._is_shared(name):
                for axis in axes:
                    self.fix(axis, f"the weight {name!r} is shared")
        return self.stored[node.name, position].axes

    def virtual(self, node: NodeProto, position: int, place: int, size: int) -> Axis:
        """New indices that a stored operand only counts: taking some away changes that number.

        Args:
            node: that makes them.
            position: of the operand that counts them.
            place: tells several axes of one operand apart.
            size: how many.
        """
        return self._fresh((node.name, position, place), size)

    def is_stored(self, node: NodeProto, position: int) -> bool:
        """Whether an operand is a weight."""
        return position < len(node.input) and self.index.is_constant(node.input[position])

    def has(self, node: NodeProto, position: int) -> bool:
        """Whether an operand is given."""
        return position < len(node.input) and bool(node.input[position])

    def values(self, node: NodeProto, position: int) -> npt.NDArray[np.generic] | None:
        """The numbers of a stored operand, None for anything else."""
        return self.index.weight(node.input[position]) if self.is_stored(node, position) else None

    def integers(self, node: NodeProto, position: int) -> list[int] | None:
        """A stored operand as a list of integers, None for anything else."""
        values = self.values(node, position)
        return None if values is None else [int(value) for value in values.reshape(-1)]

    def numbers(self, node: NodeProto, position: int) -> tuple[Entry, ...] | None:
        """Where the numbers of a shape operand come from, None where that is not known."""
        if not self.has(node, position):
            return None
        stored = stored_entries(self.index, node, position)
        return self.entries.get(node.input[position]) if stored is None else stored

    def size_axis(self, entry: SizeOf) -> Axis | None:
        """The axis whose size a number is."""
        return self.axes[entry.tensor][entry.axis] if entry.tensor in self.axes else None

    def use_number(self, entry: Literal, axis: Axis | None, reason: str) -> None:
        """Notes that a stored number is the size of an axis; all axes of one number lose the same indices."""
        first = self._used_numbers.setdefault(entry, axis)
        if first is not axis:
            self.tie(first, axis, reason)

    def fix(self, axis: Axis | None, reason: str) -> None:
        """Marks everything along an axis as never to be removed."""
        if axis is not None:
            self.ties.fix(axis.labels.reshape(-1), reason)

    def tie(self, first: Axis | None, second: Axis | None, reason: str) -> None:
        """Makes two axes lose the same indices; what has no partner can never go, for ``reason``."""
        if first is None or second is None or first.size != second.size:
            self.fix(first, reason)
            self.fix(second, reason)
            return
        one, other = first.compact(), second.compact()
        if one.columns == other.columns:
            self._tie_columns(one, other, reason)
        elif not self._imitated(one, other) and not self._imitated(other, one):
            self._tie_everything(one, other, reason)

    def split(self, axis: Axis, sizes: Sequence[int]) -> list[Axis]:
        """The axes into which a reshape splits one; ``sizes`` multiply to its size."""
        if len(sizes) == 1:
            return [axis]
        self._ask_for_split(axis, sizes)
        columns: list[list[IntArray]] = [[] for _ in sizes]
        for column in axis.labels.T:
            place, part = self._kept_column(column, sizes)
            columns[place].append(part)
        result = []
        for size, own in zip(sizes, columns, strict=True):
            labels = np.stack(own, axis=1) if own else np.empty((size, 0), np.int64)
            result.append(Axis(labels, np.full(size, NOTHING)).compact())
        whole = [i for i, size in enumerate(sizes) if size == axis.size]
        if whole:
            result[whole[0]] = Axis(result[whole[0]].labels, axis.origin)
        return result

    def _kept_column(self, column: IntArray, sizes: Sequence[int]) -> tuple[int, IntArray]:
        """Which axis a column of labels belongs to, and its labels there; other axes' labels are tied."""
        varying = varying_axes(column, sizes)
        place = max(varying, key=lambda i: sizes[i]) if varying else 0
        slices = np.moveaxis(column.reshape(tuple(sizes)), place, 0).reshape(sizes[place], -1)
        for other in slices[:, 1:].T:
            self.ties.tie(slices[:, 0], other, "a reshape would leave holes")
        return place, slices.max(axis=1)

    def _ask_for_split(self, axis: Axis, sizes: Sequence[int]) -> None:
        found = self._weight_rows(axis)
        if found is not None and any(len(varying_axes(column, sizes)) > 1 for column in axis.labels.T):
            key, rows, whole = found
            self._patterns.split(key, rows, whole, sizes)

    def _imitated(self, richer: Axis, poorer: Axis) -> bool:
        """Whether the next walk will lay out the poorer axis as the richer one."""
        found = self._weight_rows(poorer)
        if found is None or richer.columns <= poorer.columns or poorer.is_plain:
            return False
        key, rows, whole = found
        return self._patterns.imitate(key, rows, whole, richer.labels)

    def _weight_rows(self, axis: Axis) -> tuple[Key, IntArray, int] | None:
        """The weight axis that an axis is a part of, without repetition: key, rows, size."""
        origin = axis.origin
        if origin.size == 0 or (origin < 0).any() or len(np.unique(origin)) != len(origin):
            return None
        for key, size, start in self._keys:
            if start <= origin[0] < start + size:
                rows = origin - start
                return (key, rows, size) if rows.min() >= 0 and rows.max() < size else None
        return None

    def _tie_columns(self, first: Axis, second: Axis, reason: str) -> None:
        """Pairs columns that say the same; the rest in order."""
        if first.columns == 0:
            return
        theirs = list(second.labels.T)
        kinds = [partition(column).tobytes() for column in theirs]
        for column in first.labels.T:
            kind = partition(column).tobytes()
            place = kinds.index(kind) if kind in kinds else 0
            self.ties.tie(column, theirs.pop(place), reason)
            kinds.pop(place)

    def _tie_everything(self, first: Axis, second: Axis, reason: str) -> None:
        """All labels of an index become one, which is always right and seldom useful."""
        labels = np.concatenate([first.labels, second.labels], axis=1)
        lead = labels.max(axis=1)
        for axis in (first, second):
            self.ties.fix(lead[axis.labels.max(axis=1, initial=NOTHING) < 0], reason)
        for column in labels.T:
            there = column >= 0
            self.ties.tie(lead[there], column[there], reason)

    def _fresh(self, key: Key, size: int) -> Axis:
        if size < 2:
            return Axis.plain(size)
        pattern = self._patterns.of(key, size)
        labels = np.full(pattern.shape, NOTHING)
        for i, column in enumerate(pattern.T):
            first = self.ties.new(int(column.max(initial=-1)) + 1)
            labels[:, i] = np.where(column < 0, NOTHING, column + first)
        self._keys.append((key, size, self._elements))
        self._elements += size
        return Axis(labels, np.arange(self._elements - size, self._elements))

    def _is_shared(self, name: str) -> bool:
        readers = self.index.consumers.get(name, [])
        return len(readers) > 1 or name in self.index.outputs or list(readers[0].input).count(name) > 1

"""The unlabelled samples of a recovery: held in memory, split into training and held-out ones, dealt into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autocompress.errors import DataError
from autocompress.graph.specs import TensorSpec
from autocompress.graph.torch_execution.weights import Array

Feeds = dict[str, Array]
Batches = Callable[[], Iterator[Mapping[str, Array]]]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dealt:
    """One batch.

    Attributes:
        feeds: the model's inputs.
        labels: of the samples, or None.
        positions: of the units among all units.
    """

    feeds: Feeds
    labels: Labels | None
    positions: npt.NDArray[np.int64]


class Samples:
    """Samples as units that can be put into batches in any order.

    A unit is one sample where every input has a free first axis and equal other sizes; else it is a batch as given.

    Attributes:
        is_mixable: whether units are single samples.

    Args:
        batches: a pass over the samples.
        specs: the inputs of the model.
        labels: integer classes in the order of the samples, or None.

    Raises:
        DataError: there are no samples, or not as many labels as samples.
    """

    def __init__(self, batches: Batches, specs: Sequence[TensorSpec], labels: Labels | None = None) -> None:
        parts = [dict(batch) for batch in batches()]
        if not parts:
            raise DataError("recovery needs samples and there are none; give --data")
        free = all(spec.shape and not isinstance(spec.shape[0], int) for spec in specs)
        shapes = {tuple((name, array.shape[1:]) for name, array in sorted(part.items())) for part in parts}
        self.is_mixable = free and len(shapes) == 1
        self._parts = parts
        sizes = [len(next(iter(part.values()))) for part in parts] if self.is_mixable else []
        # Batches stay as they came, because joining them would take their memory twice.
        self._places = [(part, row) for part, size in enumerate(sizes) for row in range(size)]
        self._labels = None if labels is None else self._unit_labels(np.asarray(labels))

    def __len__(self) -> int:
        """Number of units."""
        return len(self._places) if self.is_mixable else len(self._parts)

    def split(self, held_out: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Positions of training and of held-out units; with a single unit it is both."""
        order = np.random.default_rng(seed).permutation(len(self))
        count = min(len(self) - 1, max(1, round(held_out * len(self)))) if held_out else 0
        if len(self) == 1 or not count:
            return order, order
        return np.sort(order[count:]), np.sort(order[:count])

    def take(self, positions: npt.NDArray[np.int64]) -> list[Dealt]:
        """The units at these positions: one batch of samples, or batches as they were given."""
        if self.is_mixable:
            labels = None if self._labels is None else np.asarray([self._labels[p] for p in positions])
            return [Dealt(self._gathered(positions), labels, positions)]
        return [
            Dealt(self._parts[p], None if self._labels is None else self._labels[p], np.asarray([p])) for p in positions
        ]

    def in_order(self, positions: npt.NDArray[np.int64], size: int) -> Iterator[Dealt]:
        """Batches of at most ``size`` units, each unit once."""
        for start in range(0, len(positions), size):
            yield from self.take(positions[start : start + size])

    def _gathered(self, positions: npt.NDArray[np.int64]) -> Feeds:
        """Single samples from wherever they lie, as one batch."""
        places = [self._places[position] for position in positions]
        return {name: np.stack([self._parts[part][name][row] for part, row in places]) for name in self._parts[0]}

    def _unit_labels(self, labels: Array) -> list[Labels]:
        sizes = [1] * len(self) if self.is_mixable else [len(next(iter(part.values()))) for part in self._parts]
        if sum(sizes) != len(labels):
            raise DataError(f"there are {sum(sizes)} samples and {len(labels)} labels; give one label per sample")
        if self.is_mixable:
            return list(labels)
        return np.split(labels, np.cumsum(sizes)[:-1])


class Shuffled:
    """Endless batches in random order, each pass over all positions in a new one.

    Args:
        positions: of the units.
        size: units per batch (all of them where there are fewer).
        seed: of the order.
    """

    def __init__(self, positions: npt.NDArray[np.int64], size: int, seed: int) -> None:
        self._positions = positions
        self._size = min(size, len(positions))
        self._seed = seed

    def at(self, step: int) -> npt.NDArray[np.int64]:
        """The units of one step; the same step always has the same, so that training can be resumed."""
        per_pass = max(1, len(self._positions) // self._size)
        order = np.random.default_rng((self._seed, step // per_pass)).permutation(self._positions)
        start = (step % per_pass) * self._size
        return order[start : start + self._size]

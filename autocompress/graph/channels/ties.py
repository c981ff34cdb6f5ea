"""Which labels go together, and which can never go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autocompress.graph.channels.axis import IntArray


@dataclass(frozen=True)
class Settled:
    """What the ties and marks of a whole graph come to.

    Attributes:
        unit: label -> number of its unit, of shape (labels,); labels of one unit go together.
        reason: unit -> why it can never go, for units that cannot.
    """

    unit: IntArray
    reason: dict[int, str]

    def is_fixed(self) -> npt.NDArray[np.bool_]:
        """Which labels can never go, of shape (labels,)."""
        fixed = np.zeros(int(self.unit.max(initial=-1)) + 1, np.bool_)
        fixed[list(self.reason)] = True
        marks: npt.NDArray[np.bool_] = fixed[self.unit]
        return marks


class Ties:
    """Collects ties between labels and reasons to keep labels, and settles them at the end."""

    def __init__(self) -> None:
        self.labels = 0
        self._first: list[IntArray] = []
        self._second: list[IntArray] = []
        self._fixed: list[tuple[IntArray, str]] = []

    def new(self, count: int) -> int:
        """The first of ``count`` new labels."""
        self.labels += count
        return self.labels - count

    def tie(self, first: IntArray, second: IntArray, reason: str) -> None:
        """Ties labels pairwise; a label whose partner has none can never go, for ``reason``."""
        both = (first >= 0) & (second >= 0)
        self._first.append(first[both])
        self._second.append(second[both])
        self.fix(np.concatenate([first[second < 0], second[first < 0]]), reason)

    def fix(self, labels: IntArray, reason: str) -> None:
        """Marks labels that can never go."""
        marked = np.unique(labels[labels >= 0])
        if marked.size:
            self._fixed.append((marked, reason))

    def settle(self) -> Settled:
        """Units are the connected components of the ties."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        first = np.concatenate([np.empty(0, np.int64), *self._first])
        second = np.concatenate([np.empty(0, np.int64), *self._second])
        graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(self.labels, self.labels))
        unit = connected_components(graph, directed=False)[1].astype(np.int64) if self.labels else first
        reasons: dict[int, str] = {}
        for labels, reason in self._fixed:
            for number in np.unique(unit[labels]):
                reasons.setdefault(int(number), reason)
        return Settled(unit, reasons)

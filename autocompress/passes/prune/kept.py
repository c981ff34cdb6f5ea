"""How much of each axis stays when units go."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from autocompress.graph.channels import ChannelAnalysis
from autocompress.graph.channels.axis import Axis
from autocompress.graph.channels.entries import Entry
from autocompress.graph.channels.scope import Axes
from autocompress.passes.prune.payload import IntArray


class KeptAxes:
    """Answers for every axis of a model which indices go.

    Attributes:
        stored_operands: (node name, operand position) of the stored operands that channels were followed through.

    Args:
        analysis: of the model.
        removed: group name -> numbers of the units that go.
    """

    def __init__(self, analysis: ChannelAnalysis, removed: Mapping[str, IntArray]) -> None:
        self._analysis = analysis
        self._labels = analysis.removed_labels(removed)
        self.stored_operands = frozenset(analysis.followed.stored)

    def axes(self, tensor: str) -> Axes:
        """The axes of a computed tensor, () where channels were not followed."""
        return self._analysis.followed.axes.get(tensor, ())

    def stored(self, node: str, position: int) -> tuple[Axis, ...]:
        """The axes of a stored operand."""
        return self._analysis.followed.stored[node, position].axes

    def entries(self, tensor: str) -> tuple[Entry, ...] | None:
        """Where the numbers of a shape operand come from."""
        return self._analysis.followed.entries.get(tensor)

    def gone(self, axis: Axis) -> npt.NDArray[np.bool_]:
        """Which indices go, of shape (size,)."""
        return axis.removed(self._labels)

    def count(self, axis: Axis) -> int:
        """How many indices stay."""
        return int((~self.gone(axis)).sum())

    def loses(self, axis: Axis | None) -> bool:
        """Whether any index goes."""
        return axis is not None and bool(self.gone(axis).any())

    def groups_of(self, axis: Axis) -> list[str]:
        """Names of the groups whose units are on an axis."""
        units = self._analysis.followed.settled.unit[axis.labels[axis.labels >= 0]]
        return [repr(group.name) for group in self._analysis.groups if np.isin(group.labels, units).any()]

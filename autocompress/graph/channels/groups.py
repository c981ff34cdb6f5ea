"""Groups of coupled channels: what can be removed from a model, named after the layers that compute it.

A group holds units that can go independently of each other: channels, neurons, attention heads, places in a head.
Removing a unit takes an index off every axis that the group lists as a member.  Connected units that are not on the
same axes (channels that a shortcut pads on, halves of a split) are groups of their own, because removing one makes
other layers smaller than removing another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from autocompress.graph.channels.axis import NOTHING, IntArray
from autocompress.graph.channels.walk import Followed, follow_channels

_MOST_KINDS = 16
_KIND = "#"  # between a layer's name and the number of further groups of the same layer


@dataclass(frozen=True, eq=False)
class Member:
    """One axis of one stored operand that loses indices with a group.

    Attributes:
        node: name of the node that reads the operand.
        tensor: name of the stored operand.
        position: of the operand.
        axis: of the operand.
        role: "output" or "input" channels of a layer, "bias" or "scale" per channel, or "other".
        units: of shape (size,), the unit of each index, ``NOTHING`` where it belongs to none of the group.
    """

    node: str
    tensor: str
    position: int
    axis: int
    role: str
    units: IntArray


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Units that can be removed one by one.

    Attributes:
        name: of the first layer that computes them, with "[column]" where its channels are split into several kinds
            of units (0 for the outermost: heads before places in a head), and "#1" and so on for further groups among
            the same layer's channels.
        size: number of units that may go.
        fixed: number of further units among the same layers' channels that stay when all of these go.
        channels: channels of the first layer that one unit holds.
        members: axes that lose indices.
        layers: nodes whose output channels these are, in graph order.
        readers: nodes that read them as input channels, in graph order.
        labels: of shape (size,), for each unit its number in the analysis.
    """

    name: str
    size: int
    fixed: int
    channels: int
    members: tuple[Member, ...]
    layers: tuple[str, ...]
    readers: tuple[str, ...]
    labels: IntArray


@dataclass(frozen=True)
class Blocked:
    """Output channels of layers that cannot be removed.

    Attributes:
        name: of the first layer.
        layers: nodes whose output channels these are.
        reason: why, in words.
    """

    name: str
    layers: tuple[str, ...]
    reason: str


@dataclass(frozen=True, eq=False)
class ChannelAnalysis:
    """The coupled channels of a model.

    Attributes:
        groups: what can be removed, in graph order.
        blocked: what cannot, with reasons, in graph order.
        followed: where the channels go, for who removes them.
    """

    groups: tuple[ChannelGroup, ...]
    blocked: tuple[Blocked, ...]
    followed: Followed

    def group(self, name: str) -> ChannelGroup | None:
        """The group of a name."""
        return next((group for group in self.groups if group.name == name), None)

    def removed_labels(self, removed: Mapping[str, IntArray]) -> npt.NDArray[np.bool_]:
        """Which labels go when units of groups do.

        Args:
            removed: group name -> numbers of the units that go.
        """
        unit = self.followed.settled.unit
        gone = np.zeros(int(unit.max(initial=-1)) + 1, np.bool_)
        for group in self.groups:
            gone[group.labels[removed.get(group.name, np.empty(0, np.int64))]] = True
        labels: npt.NDArray[np.bool_] = gone[unit]
        return labels


def analyse_channels(model: ModelProto) -> ChannelAnalysis:
    """Finds which channels of a model have to be removed together, and which cannot be removed.

    Args:
        model: normalized and folded (``recipe.prepare``); not changed.
    """
    followed = follow_channels(model)
    order = {node.name: i for i, node in enumerate(model.graph.node)}
    columns = sorted(_output_columns(followed), key=lambda column: (order[column.node], column.position, column.axis))
    sets = _connected(columns)
    groups: list[ChannelGroup] = []
    blocked: list[Blocked] = []
    free_layers: set[str] = set()
    finder = _Finder(model, followed, order)
    for own in sets:
        for group in finder.groups(own):
            groups.append(group)
            free_layers.update(group.layers)
    for own in sorted(sets, key=lambda columns: -len(_in_order(columns))):
        layers = tuple(dict.fromkeys(column.node for column in own))
        if not set(layers) <= free_layers and finder.is_blocked(own):
            blocked.append(Blocked(layers[0], layers, finder.reason(own)))
    named = sorted(_merged(blocked), key=lambda entry: order[entry.name])
    return ChannelAnalysis(tuple(groups), tuple(named), followed)


@dataclass(frozen=True, eq=False)
class _Column:
    """One column of labels of a layer's output axis."""

    node: str
    position: int
    axis: int
    place: int
    of: int
    units: IntArray


def _output_columns(followed: Followed) -> list[_Column]:
    found = []
    for (node, position), stored in followed.stored.items():
        for axis, (own, role) in enumerate(zip(stored.axes, stored.roles, strict=True)):
            if role != "output":
                continue
            for place, column in enumerate(own.labels.T):
                units = np.where(column < 0, NOTHING, followed.settled.unit[column])
                found.append(_Column(node, position, axis, place, own.columns, units))
    return found


def _connected(columns: list[_Column]) -> list[list[_Column]]:
    """Columns that share units, in order of their first."""
    owner: dict[int, int] = {}
    sets: dict[int, list[_Column]] = {}
    for number, column in enumerate(columns):
        met = {owner[unit] for unit in np.unique(column.units).tolist() if unit >= 0 and unit in owner}
        own = [column]
        for other in sorted(met):
            own = sets.pop(other) + own
        sets[number] = sorted(own, key=columns.index)
        for member in own:
            owner.update(dict.fromkeys(member.units[member.units >= 0].tolist(), number))
    return sorted(sets.values(), key=lambda own: columns.index(own[0]))


def _merged(blocked: list[Blocked]) -> list[Blocked]:
    """Each layer once; ``blocked`` is sorted by how much each tells of its layers."""
    seen: set[str] = set()
    kept = []
    for entry in blocked:
        if not set(entry.layers) <= seen:
            kept.append(entry)
        seen.update(entry.layers)
    return kept


class _Finder:
    """Makes groups out of columns."""

    def __init__(self, model: ModelProto, followed: Followed, order: Mapping[str, int]) -> None:
        self._nodes = {node.name: node for node in model.graph.node}
        self._followed = followed
        self._order = order
        self._reasons = followed.settled.reason
        unit = followed.settled.unit
        axes = [axis for stored in followed.stored.values() for axis in stored.axes if axis.columns > 0]
        units = [np.unique(unit[axis.labels[axis.labels >= 0]]) for axis in axes]
        # The units on each axis, one axis after the other, beside the number of the axis.
        self._axis_units = np.concatenate([*units, np.empty(0, np.int64)])
        self._axis_numbers = np.repeat(np.arange(len(units)), [len(own) for own in units])

    def groups(self, columns: list[_Column]) -> list[ChannelGroup]:
        """The groups of connected columns, one for each kind of unit; none where at most one unit may go."""
        units = _in_order(columns)
        free = np.array([unit for unit in units if unit not in self._reasons], np.int64)
        if len(free) == 0 or len(units) < 2:
            return []
        kinds = self._kinds(free)
        if len(kinds) == 1:
            return [self._group(columns, free, len(units) - len(free), "")]
        found: list[ChannelGroup] = []
        for kind in kinds:
            holding = [column.units for column in columns if np.isin(kind, column.units).any()]
            others = min(len(np.setdiff1d(own[own >= 0], kind)) for own in holding)
            group = self._group(columns, kind, others, "")
            same = sum(group.name == known.name.split(_KIND)[0] for known in found)
            found.append(self._group(columns, kind, others, f"{_KIND}{same}") if same else group)
        return found

    def _kinds(self, free: IntArray) -> list[IntArray]:
        """Units that are on the same axes, together, in order; all as one where there are very many kinds."""
        place = np.full(int(self._followed.settled.unit.max(initial=-1)) + 1, NOTHING)
        place[free] = np.arange(len(free))
        found = place[self._axis_units]
        rows, row = np.unique(self._axis_numbers[found >= 0], return_inverse=True)
        holding = np.zeros((len(rows), len(free)), np.bool_)
        holding[row.reshape(-1), found[found >= 0]] = True
        patterns, kind = np.unique(holding, axis=1, return_inverse=True)
        if patterns.shape[1] > _MOST_KINDS:
            return [free]
        kinds = [free[kind.reshape(-1) == number] for number in range(patterns.shape[1])]
        return sorted(kinds, key=lambda own: int(np.flatnonzero(free == own[0])[0]))

    def _group(self, columns: list[_Column], free: IntArray, fixed: int, suffix: str) -> ChannelGroup:
        first = next(c for c in columns if np.isin(c.units, free).any())
        members = self._members(free)
        layers = {member.node for member in members if member.role == "output"}
        readers = {member.node for member in members if member.role == "input"}
        return ChannelGroup(
            name=(first.node if first.of == 1 else f"{first.node}[{first.place}]") + suffix,
            size=len(free),
            fixed=fixed,
            channels=int((first.units == first.units[np.isin(first.units, free)][0]).sum()),
            members=members,
            layers=tuple(sorted(layers, key=self._order.__getitem__)),
            readers=tuple(sorted(readers, key=self._order.__getitem__)),
            labels=free,
        )

    def is_blocked(self, columns: list[_Column]) -> bool:
        """Whether nothing of connected columns may go."""
        return not self.groups(columns)

    def reason(self, columns: list[_Column]) -> str:
        """Why not."""
        units = _in_order(columns)
        return next((self._reasons[unit] for unit in units if unit in self._reasons), "it has only one kind of channel")

    def _members(self, free: IntArray) -> tuple[Member, ...]:
        number = np.full(int(self._followed.settled.unit.max()) + 1, NOTHING)
        number[free] = np.arange(len(free))
        members = []
        for (node, position), stored in self._followed.stored.items():
            for axis, (own, role) in enumerate(zip(stored.axes, stored.roles, strict=True)):
                if own.columns == 0:
                    continue
                every = np.where(own.labels < 0, NOTHING, number[self._followed.settled.unit[own.labels]])
                units = every.max(axis=1)
                if (units >= 0).any():
                    tensor = self._nodes[node].input[position]
                    members.append(Member(node, tensor, position, axis, role, units))
        return tuple(members)


def _in_order(columns: list[_Column]) -> list[int]:
    """Units in order of appearance."""
    return list(dict.fromkeys(unit for column in columns for unit in column.units.tolist() if unit >= 0))

"""Chooses the units that stay: the most important ones, and never too few to be a model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from autocompress.errors import RecipeError
from autocompress.graph.channels import ChannelAnalysis, ChannelGroup
from autocompress.passes.prune.payload import IntArray

DoubleArray = npt.NDArray[np.float64]


def kept_count(group: ChannelGroup, ratio: float) -> int:
    """How many units stay at a ratio.

    Raises:
        RecipeError: none would.
    """
    removed = int(np.floor(group.size * ratio + 0.5))
    if removed >= group.size and group.fixed == 0:
        raise RecipeError(
            f"prune step: a ratio of {ratio:g} would empty the layer {group.name!r}, which has {group.size} "
            "channels; choose a smaller one"
        )
    return group.size - min(removed, group.size)


def most_important(analysis: ChannelAnalysis, group: ChannelGroup, scores: DoubleArray, count: int) -> IntArray:
    """The ``count`` units with the highest scores, rising; of equals the first.

    Where an axis has units of this group only, its best one stays before others, so that none gets empty.

    Raises:
        RecipeError: more axes need a unit than may stay.
    """
    order = np.argsort(-scores, kind="stable")
    needed = _needed(analysis, group, order)
    if len(needed) > count:
        raise RecipeError(
            f"prune step: group {group.name!r} feeds {len(needed)} tensors of its own, so it cannot go down to {count} "
            "channels without emptying one; choose a smaller ratio"
        )
    rest = [int(unit) for unit in order if int(unit) not in needed]
    return np.array(sorted([*needed, *rest[: count - len(needed)]]), np.int64)


def _needed(analysis: ChannelAnalysis, group: ChannelGroup, order: IntArray) -> set[int]:
    """The best unit of every axis that has no others."""
    unit = analysis.followed.settled.unit
    number = np.full(int(unit.max(initial=-1)) + 2, -1)
    number[group.labels] = np.arange(group.size)
    rank = np.empty(group.size, np.int64)
    rank[order] = np.arange(group.size)
    sets: set[bytes] = set()
    for axes in analysis.followed.axes.values():
        for axis in axes:
            if axis is not None and axis.columns > 0 and axis.size > 0:
                found = np.where(axis.labels < 0, -1, number[unit[axis.labels]]).max(axis=1)
                if (found >= 0).all():
                    sets.add(np.unique(found).tobytes())
    needed: set[int] = set()
    for own in sorted(sets, key=len):
        units = np.frombuffer(own, np.int64)
        if not needed & set(units.tolist()):
            needed.add(int(units[np.argmin(rank[units])]))
    return needed

"""Pruning in rounds: some channels go, what is left is recovered, and the rest is judged again.

Each round removes an equal share of the channels that are to go (Molchanov et al., "Pruning Convolutional Neural
Networks for Resource Efficient Inference", ICLR 2017, section 2, with recovery in closed form in place of training).
Only which channels stay is kept: the steps after this one recover the model from its own weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from onnx import ModelProto

from autocompress.errors import RecipeError
from autocompress.graph.channels import ChannelAnalysis, analyse_channels
from autocompress.passes.prune.payload import IntArray
from autocompress.passes.prune.removal import without_units

Select = Callable[[ModelProto, ChannelAnalysis, Mapping[str, int]], dict[str, IntArray]]
"""(model, its channels, group name -> units that stay) -> numbers of those, for groups that lose some."""

Recovered = Callable[[ModelProto], ModelProto]
"""A smaller model -> the same with recovered weights."""


def kept_after_rounds(
    model: ModelProto,
    analysis: ChannelAnalysis,
    counts: Mapping[str, int],
    rounds: int,
    select: Select,
    recovered: Recovered,
) -> dict[str, IntArray]:
    """Which units of each group stay, in the numbers of the model given.

    Args:
        model: to prune; not changed.
        analysis: its channels.
        counts: group name -> units that stay in the end.
        rounds: at least 1.
        select: chooses units.
        recovered: recovers the model between two rounds.

    Raises:
        RecipeError: a group is not the same any more in the smaller model.
    """
    sizes = {name: _size(analysis, name) for name in counts}
    kept = {name: np.arange(size) for name, size in sizes.items()}
    for done in range(1, rounds + 1):
        wanted = {name: sizes[name] - (sizes[name] - count) * done // rounds for name, count in counts.items()}
        chosen = select(model, analysis, {name: n for name, n in wanted.items() if n < len(kept[name])})
        removed = {name: np.setdiff1d(np.arange(len(kept[name])), own) for name, own in chosen.items()}
        kept.update({name: kept[name][own] for name, own in chosen.items()})
        if done < rounds and removed:
            model = recovered(without_units(model, analysis, removed))
            analysis = analyse_channels(model)
            _check(analysis, kept)
    return {name: own for name, own in kept.items() if len(own) < sizes[name]}


def _size(analysis: ChannelAnalysis, name: str) -> int:
    group = analysis.group(name)
    return 0 if group is None else group.size


def _check(analysis: ChannelAnalysis, kept: Mapping[str, IntArray]) -> None:
    for name, own in kept.items():
        if _size(analysis, name) != len(own):
            raise RecipeError(
                f"prune step: the channels of group {name!r} belong together in another way once some are gone; "
                "prune in 1 round"
            )

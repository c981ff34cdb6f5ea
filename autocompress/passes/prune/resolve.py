"""Finds the units that a configuration removes, and removes them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from autocompress.errors import RecipeError
from autocompress.graph.channels import ChannelAnalysis, ChannelGroup, analyse_channels
from autocompress.passes.decompose.patches import Batches, Load
from autocompress.passes.prune.branches import without_branches
from autocompress.passes.prune.config import PruneConfig
from autocompress.passes.prune.criteria import CRITERIA, Scoring
from autocompress.passes.prune.payload import IntArray, PrunePayload
from autocompress.passes.prune.removal import with_zeroed_units, without_units
from autocompress.passes.prune.rounds import Recovered, kept_after_rounds
from autocompress.passes.prune.select import kept_count, most_important


def resolve(
    model: ModelProto,
    config: PruneConfig,
    batches: Batches | None = None,
    *,
    original: ModelProto | None = None,
    recovered: Recovered | None = None,
    load: Load | None = None,
    analysis: ChannelAnalysis | None = None,
) -> PrunePayload:
    """Which units of each group stay.

    Args:
        model: normalized and folded; not changed.
        config: what to do.
        batches: starts a pass over unlabelled samples; needed by the criteria "activation", "reconstruction", "taylor".
        original: the normalized model before folding, for "batch_norm_scale".
        recovered: gives the weights of a smaller model back what they lost, between two rounds.
        load: loads a model to run; ONNX Runtime with one thread unless given.
        analysis: of ``model``; made unless given.

    Raises:
        RecipeError: a group does not exist, cannot be pruned or would be emptied, or the criterion lacks something.
        DataError: the samples are empty or give NaN.
    """
    model, found = _without_branches(model, config, analysis)
    chosen = [(_group(found, name), ratio) for name, ratio in config.ratios]
    counts = {group.name: kept_count(group, ratio) for group, ratio in chosen}
    losing = tuple(group for group, _ in chosen if counts[group.name] < group.size)
    if not losing:
        return PrunePayload()
    if config.rounds > 1 and recovered is None:
        raise RecipeError("prune step: rounds need samples to recover from in between; give --data, or 1 round")

    def select(current: ModelProto, channels: ChannelAnalysis, wanted: Mapping[str, int]) -> dict[str, IntArray]:
        groups = tuple(_group(channels, name) for name in wanted)
        scores = CRITERIA[config.criterion](Scoring(current, channels, groups, batches, load, original))
        return {g.name: most_important(channels, g, scores[g.name], wanted[g.name]) for g in groups}

    wanted = {group.name: counts[group.name] for group in losing}
    return PrunePayload(kept_after_rounds(model, found, wanted, config.rounds, select, recovered or _unchanged))


def prune(
    model: ModelProto, config: PruneConfig, payload: PrunePayload, analysis: ChannelAnalysis | None = None
) -> ModelProto:
    """A copy without the units that the payload does not keep; its tensors are smaller.

    Args:
        model: that the payload was made for; not changed.
        config: of the payload.
        payload: see ``resolve``.
        analysis: of ``model``; made unless given.

    Raises:
        RecipeError: the payload does not fit the model.
    """
    model, found = _without_branches(model, config, analysis)
    return without_units(model, found, removed_units(found, config, payload))


def mask(
    model: ModelProto, config: PruneConfig, payload: PrunePayload, analysis: ChannelAnalysis | None = None
) -> ModelProto:
    """A copy of unchanged shapes in which the weights of removed units are zero; arguments as for ``prune``.

    It computes what the pruned model computes, up to the order of sums.
    """
    model, found = _without_branches(model, config, analysis)
    return with_zeroed_units(model, found, removed_units(found, config, payload))


def removed_units(analysis: ChannelAnalysis, config: PruneConfig, payload: PrunePayload) -> dict[str, IntArray]:
    """Group name -> numbers of the units that go.

    Raises:
        RecipeError: the payload does not fit.
    """
    ratios: Mapping[str, float] = dict(config.ratios)
    removed = {}
    for name, kept in payload.kept.items():
        group = _group(analysis, name)
        if name not in ratios or kept_count(group, ratios[name]) != len(kept):
            raise RecipeError(f"prune step: the kept units of {name!r} do not fit its ratio; resolve the recipe again")
        if len(kept) and int(kept[-1]) >= group.size:
            raise RecipeError(f"prune step: {name!r} has {group.size} units, not {int(kept[-1]) + 1}; resolve again")
        removed[name] = np.setdiff1d(np.arange(group.size), kept)
    return removed


def _without_branches(
    model: ModelProto, config: PruneConfig, analysis: ChannelAnalysis | None
) -> tuple[ModelProto, ChannelAnalysis]:
    """The model that channels are taken from, and its channels; those given are of the model with all branches."""
    if config.branches:
        model, analysis = without_branches(model, config.branches), None
    return model, analyse_channels(model) if analysis is None else analysis


def _unchanged(model: ModelProto) -> ModelProto:
    return model


def _group(analysis: ChannelAnalysis, name: str) -> ChannelGroup:
    group = analysis.group(name)
    if group is not None:
        return group
    blocked = next((entry for entry in analysis.blocked if name in entry.layers), None)
    if blocked is not None:
        raise RecipeError(f"prune step: the channels of {name!r} cannot be removed: {blocked.reason}")
    holder = next((group.name for group in analysis.groups if name in group.layers), None)
    if holder is not None:
        raise RecipeError(f"prune step: the channels of {name!r} belong to group {holder!r}; give that name")
    raise RecipeError(f"prune step: the model has no group {name!r}; name groups of this very model")

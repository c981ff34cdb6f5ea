"""What a worker finds out about groups of channels and residual branches: how much is lost without them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autocompress.errors import CandidateFailed, DataError, ModelError, RecipeError, RuntimeFailure
from autocompress.graph.channels import ChannelAnalysis, ChannelGroup
from autocompress.passes.prune.branches import find_branches, without_branches
from autocompress.passes.prune.compensation import compensated
from autocompress.passes.prune.criteria import CRITERIA, Scores, Scoring
from autocompress.passes.prune.moments import Reader, column_units, in_portions, read_moments, readers_of
from autocompress.passes.prune.payload import IntArray
from autocompress.passes.prune.select import most_important
from autocompress.passes.prune.surgery import removal_losses
from autocompress.passes.recover import RecoverConfig, recover
from autocompress.passes.recover import resolve as resolve_recovery
from autocompress.search.stems.looking import float_damage
from autocompress.search.stems.options import BRANCH, Place
from autocompress.search.tasks import bench
from autocompress.search.workbench import Workbench

_MOST_TO_RECOVER = 24  # samples for a closed form that only ranks branches
_MAX_BYTES, _MOST_AT_ONCE = 128 * 1024 * 1024, 8


@dataclass(frozen=True)
class Judged:
    """A group whose units went, the layers that read them solved anew.

    Attributes:
        losses: of shape (size,), what the readers lose once 1, 2, ... units are gone, relative to their variance.
        damage: at the output with as many units gone as was asked for; inf where it gives no finite numbers.
    """

    losses: tuple[float, ...]
    damage: float


def portions(names: list[str]) -> list[list[str]]:
    """Groups in portions that are best judged together."""
    tools = bench()
    groups = [group for name in names if (group := tools.channels.group(name)) is not None]
    bounded = in_portions(tools.builder.prepared, groups, _MAX_BYTES)
    return [
        [group.name for group in own[start : start + _MOST_AT_ONCE]]
        for own in bounded
        for start in range(0, len(own), _MOST_AT_ONCE)
    ]


def judge(removals: Mapping[str, int], criterion: str, samples: int) -> dict[str, Judged]:
    """Judges groups of the original, each alone.

    Args:
        removals: group -> units that go.
        criterion: by which they go.
        samples: of the search part.

    Raises:
        CandidateFailed: when layers see no finite numbers, or the criterion fails.
    """
    tools = bench()
    model, analysis = tools.builder.prepared, tools.channels
    groups = tuple(group for group in analysis.groups if group.name in removals)
    try:
        readers = read_moments(model, readers_of(model, groups), tools.samples.batches)
        scores = _scores(tools, groups, readers, criterion)
        losses = scores if criterion == "surgeon" else _scores(tools, groups, readers, "surgeon")
        found = {}
        for group in groups:
            kept = most_important(analysis, group, scores[group.name], group.size - removals[group.name])
            gone = np.setdiff1d(np.arange(group.size), kept)
            own = {name: readers[name] for name in group.readers if name in readers}
            damage = _damage(tools, analysis, {group.name: gone}, own, samples)
            found[group.name] = Judged(tuple(np.sort(losses[group.name]).tolist()), damage)
        return found
    except (RecipeError, ModelError, DataError) as error:
        raise CandidateFailed(str(error)) from error


def branches() -> list[Place]:
    """The residual branches of the original."""
    tools = bench()
    found = []
    for branch in find_branches(tools.builder.prepared).values():
        within = {group.name for group in tools.channels.groups if set(group.layers) <= branch.nodes}
        found.append(Place(branch.name, BRANCH, 1, (1.0,), within=frozenset(within | branch.nodes) - {branch.name}))
    return found


def branch_damage(name: str, samples: int) -> float:
    """Damage at the output without a branch, what is left recovered in closed form; inf where that fails.

    Before recovery nearly every branch is ruinous, and the order among them says nothing of what is left afterwards.

    Args:
        name: of the branch.
        samples: of the search part.
    """
    tools = bench()
    original = tools.builder.prepared
    config = RecoverConfig(level="closed_form")
    try:
        smaller = without_branches(original, [name])
        payload = resolve_recovery(
            smaller, original, config, lambda: itertools.islice(tools.samples.batches(), _MOST_TO_RECOVER)
        )
        return float_damage(tools, recover(smaller, config, payload), samples)
    except (RecipeError, ModelError, DataError, RuntimeFailure):
        return float("inf")


def _damage(
    tools: Workbench,
    analysis: ChannelAnalysis,
    removed: Mapping[str, IntArray],
    readers: Mapping[str, Reader],
    samples: int,
) -> float:
    try:
        return float_damage(tools, compensated(tools.builder.prepared, analysis, removed, readers), samples)
    except (RecipeError, ModelError, RuntimeFailure):
        return float("inf")


def _scores(
    tools: Workbench, groups: tuple[ChannelGroup, ...], readers: Mapping[str, Reader], criterion: str
) -> Scores:
    """Importance of units, with the moments at hand where they are what the criterion needs."""
    scores: Scores = {}
    for group in groups if criterion == "surgeon" else ():
        own = [(readers[n], column_units(group, readers[n].layer)) for n in group.readers if n in readers]
        if own:
            scores[group.name] = removal_losses(own, group.size)
    left = tuple(group for group in groups if group.name not in scores)
    if left:
        scoring = Scoring(tools.builder.prepared, tools.channels, left, tools.samples.batches)
        scores.update(CRITERIA[criterion](scoring))
    return scores

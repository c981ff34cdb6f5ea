"""Stems that differ from the original in the resolution at which they read its image, and in nothing else.

They cost nothing to make: no weight changes.  So all sizes are looked at, each with its price and its damage at the
output, and those are proposed first that should just reach the target; what measuring them shows corrects the prices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autocompress.errors import CandidateFailed
from autocompress.passes.downsample import DownsampleConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.space import NONE
from autocompress.search.state import SearchState
from autocompress.search.stems import tasks
from autocompress.search.stems.losses import damage_samples
from autocompress.search.stems.reference import reference_config, reference_ms
from autocompress.search.trials import Trial

# Of the time of the quantized original, where no target says how much.
_UNTARGETED = (0.75, 0.55)
_MOST_PROPOSED = 3
_AIM = 0.985  # of the time that is allowed: what is measured varies
_GAIN = 0.98  # a size must be at least so much faster than the next larger one


@dataclass(frozen=True)
class Resolution:
    """A size of the image, all layers as they were.

    Attributes:
        config: the size.
        share: estimated latency of the quantized model, relative to that at the full size.
        damage: of the float model at the output.
    """

    config: DownsampleConfig
    share: float
    damage: float


def survey_resolutions(state: SearchState) -> list[Resolution]:
    """The sizes worth having, from large to small: each faster than all that damage less."""
    limits = state.limits
    if all(name == NONE for name in state.settings.space.downsampling):
        return []
    if limits.has_target and limits.latency_ms is None:
        return []  # no weight gets smaller
    with state.stopwatch.stage("search"):
        sizes = state.executor.submit(tasks.image_sizes).result()
        if isinstance(sizes, str):
            state.notice(f"the image was not made smaller inside the network: {sizes}")
            return []
        state.progress.stage("look at smaller images", total=len(sizes))
        return _worthwhile(_looked_at(state, sizes))


def propose_resolutions(state: SearchState, resolutions: Sequence[Resolution]) -> Iterator[Recipe]:
    """Stems that should reach the target with the least damage, each worked out when it is asked for.

    Where they lose too much, milder ones follow by halving: the fastest within the accuracy limit is what a user gets
    whose target is out of reach.

    Args:
        state: of the search, whose trials show meanwhile how fast those proposed before are.
        resolutions: as surveyed.
    """
    if not resolutions:
        return
    target_ms = state.limits.latency_ms
    if target_ms is None:
        chosen = [_least_damaged(resolutions, share) for share in _UNTARGETED]
        yield from (_stem(found) for found in dict.fromkeys(chosen) if found is not None)
        return
    tried: list[Resolution] = []
    for found in _towards(state, resolutions, target_ms / reference_ms(state)):
        tried.append(found)
        yield _stem(found)
    mildest = min((resolutions.index(found) for found in tried), default=len(resolutions))
    yield from map(_stem, _milder(state, resolutions, mildest))


def _towards(state: SearchState, resolutions: Sequence[Resolution], wanted: float) -> Iterator[Resolution]:
    """Sizes that should take a share of the time, the next one by what was measured of the one before."""
    off = 1.0
    tried: list[Resolution] = []
    for _ in range(_MOST_PROPOSED):
        found = _least_damaged(resolutions, wanted / off * _AIM)
        reached = bool(tried) and tried[-1].share * off <= wanted
        if found is None or found in tried or (reached and found.damage > tried[-1].damage):
            return
        tried.append(found)
        yield found
        off = _slower_than_priced(state, found, off)


def _milder(state: SearchState, resolutions: Sequence[Resolution], lossy: int) -> Iterator[Resolution]:
    """Sizes between the full one and one that loses too much, halving what is between, as long as that tells anything.

    Args:
        state: of the search.
        resolutions: from large to small.
        lossy: position of the largest that was tried.
    """
    good = -1
    if lossy < len(resolutions) and _keeps_accuracy(state, resolutions[lossy]):
        return
    for _ in range(_MOST_PROPOSED):
        middle = (good + lossy) // 2
        if middle == good:
            return
        yield resolutions[middle]
        if _keeps_accuracy(state, resolutions[middle]):
            good = middle
        else:
            lossy = middle


def _keeps_accuracy(state: SearchState, resolution: Resolution) -> bool:
    return any(trial.evaluated.drop.drop <= state.limits.accuracy_drop for trial in _measured(state, resolution))


def _measured(state: SearchState, resolution: Resolution) -> list[Trial]:
    stem = _stem(resolution)
    return [trial for trial in state.ledger.complete if trial.recipe.float_part == stem]


def _stem(resolution: Resolution) -> Recipe:
    return Recipe(downsample=resolution.config)


def _looked_at(state: SearchState, sizes: Sequence[DownsampleConfig]) -> list[Resolution]:
    """Prices and damages of sizes; those that cannot be run are left out."""
    assert state.estimator is not None
    config, samples = reference_config(state), damage_samples(state, len(sizes))
    full = state.executor.submit(tasks.look, Recipe(), config, 0).result()
    full_ms = state.estimator.estimate(full.ops).latency_ms
    futures = [state.executor.submit(tasks.look, Recipe(downsample=size), config, samples) for size in sizes]
    found = []
    for size, future in zip(sizes, futures, strict=True):
        try:
            seen = future.result()
        except CandidateFailed:
            continue
        finally:
            state.progress.advance()
        found.append(Resolution(size, state.estimator.estimate(seen.ops).latency_ms / full_ms, seen.damage))
    return [resolution for resolution in found if np.isfinite(resolution.damage)]


def _worthwhile(found: Sequence[Resolution]) -> list[Resolution]:
    """Those that are faster than every other of less damage; maps of odd sizes often are not."""
    kept: list[Resolution] = []
    for resolution in sorted(found, key=lambda r: (r.damage, r.share)):
        fastest = min((other.share for other in kept), default=1.0)
        if resolution.share <= _GAIN * fastest:
            kept.append(resolution)
    return kept


def _least_damaged(resolutions: Sequence[Resolution], share: float) -> Resolution | None:
    """The size that damages least of those fast enough."""
    return min((r for r in resolutions if r.share <= share), key=lambda r: r.damage, default=None)


def _slower_than_priced(state: SearchState, resolution: Resolution, before: float) -> float:
    """How many times longer than priced the fastest candidate of a size takes; as before where none was measured."""
    own = [state.latency_ms(trial) for trial in _measured(state, resolution)]
    return min(own) / reference_ms(state) / resolution.share if own else before

"""The sizes at which the original may read its image, each with its price and its damage at the output."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autocompress.errors import CandidateFailed
from autocompress.passes.downsample import DownsampleConfig, stretch
from autocompress.recipe.recipe import Recipe
from autocompress.search.space import NONE
from autocompress.search.state import SearchState
from autocompress.search.stems import tasks
from autocompress.search.stems.losses import damage_samples
from autocompress.search.stems.reference import reference_config
from autocompress.search.stems.tasks import ImageSizes

_SHARE = 0.05  # of the time, for looking
_GAIN = 0.98  # a size must be at least so much faster than the next larger one
# The error of the output says too little of changed proportions: on picture classifiers, what was stretched by half
# lost as much accuracy as what had twice the error at the right proportions.
_STRETCHED = 4.0


@dataclass(frozen=True)
class Resolution:
    """A size of the image, all layers as they were.

    Attributes:
        config: the size.
        share: estimated latency of the quantized model, relative to that at the full size.
        damage: of the float model at the output, more where proportions change.
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
        state.progress.stage("look at smaller images", total=len(sizes.smaller))
        return _worthwhile(_looked_at(state, sizes))


def _looked_at(state: SearchState, sizes: ImageSizes) -> list[Resolution]:
    """As many as there is time for, in their order; those that cannot be run are left out."""
    assert state.estimator is not None
    begin, config = time.monotonic(), reference_config(state)
    samples = damage_samples(state, len(sizes.smaller))
    full = state.executor.submit(tasks.look, Recipe(), config, 0).result()
    full_ms = state.estimator.estimate(full.ops).latency_ms
    at_once, found = max(state.settings.workers, 1), []
    for start in range(0, len(sizes.smaller), at_once):
        own = sizes.smaller[start : start + at_once]
        futures = [state.executor.submit(tasks.look, Recipe(downsample=size), config, samples) for size in own]
        for size, future in zip(own, futures, strict=True):
            state.progress.advance()
            try:
                seen = future.result()
            except CandidateFailed:
                continue
            share = state.estimator.estimate(seen.ops).latency_ms / full_ms
            found.append(Resolution(size, share, seen.damage * _weight(size, sizes.full)))
        if state.interrupted or _is_late(state, begin):
            break
    return [resolution for resolution in found if np.isfinite(resolution.damage)]


def _weight(size: DownsampleConfig, full: tuple[int, int]) -> float:
    return 1.0 + _STRETCHED * stretch((size.height, size.width), full) ** 2


def _is_late(state: SearchState, begin: float) -> bool:
    if state.settings.deterministic or state.settings.timeout_s is None:
        return False
    return time.monotonic() - begin > _SHARE * state.settings.timeout_s


def _worthwhile(found: Sequence[Resolution]) -> list[Resolution]:
    """Those that are faster than every other of less damage; maps of odd sizes often are not."""
    kept: list[Resolution] = []
    for resolution in sorted(found, key=lambda r: (r.damage, r.share)):
        fastest = min((other.share for other in kept), default=1.0)
        if resolution.share <= _GAIN * fastest:
            kept.append(resolution)
    return kept

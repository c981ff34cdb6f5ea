"""Recipes of stems, from mild to strong: the least damaging options for prices that lead to the target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autocompress.errors import CandidateFailed
from autocompress.passes.downsample import DownsampleConfig
from autocompress.passes.recover import RecoverConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.space import NONE
from autocompress.search.state import SearchState
from autocompress.search.stems import tasks
from autocompress.search.stems.ladder import cost, least_damaging, most_ms
from autocompress.search.stems.options import Option, stem_of
from autocompress.search.stems.reference import reference_ms
from autocompress.search.stems.resolutions import Resolution
from autocompress.search.stems.spare_speed import is_too_fast, milder_share
from autocompress.search.stems.survey import Landscape, first_criterion, priced_ms

# Of the time of the quantized original that a stem's quantized form is to take.
_UNTARGETED = (0.85, 0.7, 0.55)
# Relative to what the target needs: prices are no measurements, and quantization may have to give some speed back.
_AROUND_TARGET = (0.97, 0.88, 0.78)
_LEAST_SHARE = 0.25
_ROUNDS = 4
_CLOSE = 0.02
_NEARLY = 0.999
_SAMPLES = 16
_MOST_RESOLUTIONS = 3

Choice = tuple[DownsampleConfig | None, tuple[Option, ...]]
"""A size of the image (None: its own), and what happens to layers."""


@dataclass(frozen=True)
class Priced:
    """A choice of options and what it costs.

    Attributes:
        options: chosen.
        latency_ms: estimated, of the quantized stem.
    """

    options: tuple[Option, ...]
    latency_ms: float


def propose_stems(state: SearchState, landscape: Landscape, resolutions: Sequence[Resolution] = ()) -> Iterator[Recipe]:
    """Stems with closed-form recovery, mild ones first; each is worked out when it is asked for.

    Where one turns out to be faster than asked by more than noise, a milder one follows it, once.

    Args:
        state: of the search.
        landscape: what layers may lose.
        resolutions: at which the image may be read besides.
    """
    seen: set[str] = set()
    milder_tried = False
    criteria = [name for name in state.settings.space.pruning if name != NONE] or [first_criterion(state)]
    for share in wanted_shares(state):
        stem = _proposed(state, landscape, share, criteria, resolutions)
        if stem is None or stem.hash in seen:
            continue
        if stem.prune is not None:
            criteria = [stem.prune.criterion]  # which is best at one width is best at others
        seen.add(stem.hash)
        recipe = _recovered(state, stem)
        yield recipe
        if not milder_tried and is_too_fast(state, recipe):
            milder_tried = True
            milder = milder_share(state, recipe, share)
            stem = None if milder is None else _proposed(state, landscape, milder, criteria, resolutions)
            if stem is not None and stem.hash not in seen:
                seen.add(stem.hash)
                yield _recovered(state, stem)
            if state.settings.recovery != "none":
                return


def _proposed(
    state: SearchState,
    landscape: Landscape,
    share: float,
    criteria: Sequence[str],
    resolutions: Sequence[Resolution],
) -> Recipe | None:
    """The least damaged stem whose quantized form takes a share of the quantized original's time, if any."""
    found = [_priced_to(state, landscape, family, share) for family in _families(landscape.options)]
    within = [priced for priced in found if _is_within(priced, landscape, share)]
    chosen = within or sorted(found, key=lambda priced: priced.latency_ms)[:1]
    choices: list[Choice] = [(None, priced.options) for priced in chosen if priced.options]
    return _least_damaged(state, choices + _at_lower_resolution(state, landscape, share, resolutions), criteria)


def _is_within(priced: Priced, landscape: Landscape, share: float) -> bool:
    return priced.latency_ms <= share * landscape.full_ms * (1 + 2 * _CLOSE)


def _at_lower_resolution(
    state: SearchState, landscape: Landscape, share: float, resolutions: Sequence[Resolution]
) -> list[Choice]:
    """The best choice of options together with a smaller image that alone would not save enough.

    Every operator gets faster about as the whole does, so that options save at any resolution the same part of it.
    """
    found: list[tuple[float, Choice]] = []
    milder = sorted((r for r in resolutions if r.share > share), key=lambda r: r.share)
    for resolution in milder[:: -(-len(milder) // _MOST_RESOLUTIONS)] if milder else []:
        left = share / resolution.share
        priced = _priced_to(state, landscape, landscape.options, left)
        if priced.options and _is_within(priced, landscape, left):
            expected = cost(resolution.damage) + sum(cost(option.damage) for option in priced.options)
            found.append((expected, (resolution.config, priced.options)))
    return [min(found, key=lambda pair: pair[0])[1]] if found else []


def _recovered(state: SearchState, stem: Recipe) -> Recipe:
    return replace(stem, recover=RecoverConfig(level="closed_form", seed=state.settings.seed))


def _families(options: Sequence[Option]) -> list[list[Option]]:
    """All options, and those of one kind alone: damages of different kinds add up to more than their sum."""
    decomposed = [option for option in options if option.place.layer[0] == "decompose"]
    pruned = [option for option in options if option.place.layer[0] != "decompose"]
    return [list(options), pruned, decomposed] if pruned and decomposed else [list(options)]


def wanted_shares(state: SearchState) -> list[float]:
    """Times of stems' quantized forms, relative to that of the original's."""
    target_ms = state.limits.latency_ms
    if target_ms is None:
        return list(_UNTARGETED)
    needed = target_ms / reference_ms(state)
    shares = [max(needed * factor, _LEAST_SHARE) for factor in _AROUND_TARGET]
    return [share for share in dict.fromkeys(shares) if share < 1.0]


def _priced_to(state: SearchState, landscape: Landscape, options: Sequence[Option], share: float) -> Priced:
    """Options whose common price is just within a limit, found by correcting what was promised of them.

    Args:
        state: of the search.
        landscape: what there is.
        options: the part of it to choose from.
        share: of the quantized original's latency.
    """
    config, prices, full_ms = landscape.config, landscape.prices, landscape.full_ms
    limit_ms = share * full_ms
    wanted_ms = full_ms - limit_ms
    best = Priced((), full_ms)
    for _ in range(_ROUNDS):
        chosen = least_damaging(options, wanted_ms, prices)
        chosen = chosen or least_damaging(options, most_ms(options, prices) * _NEARLY, prices)
        if not chosen:
            return best
        ms = priced_ms(state, stem_of(chosen, first_criterion(state)), config)
        if not np.isfinite(ms):
            return best
        best = Priced(tuple(chosen), ms)
        if ms <= limit_ms * (1 + _CLOSE):
            return best
        wanted_ms *= min((full_ms - limit_ms) / max(full_ms - ms, 1e-9), 2.0)
    return best


def _least_damaged(state: SearchState, choices: Sequence[Choice], criteria: Sequence[str]) -> Recipe | None:
    """Of several choices under every criterion the stem whose output is nearest to the original's."""
    stems: dict[str, Recipe] = {}
    for size, options in choices:
        for stem in (replace(stem_of(options, name), downsample=size) for name in criteria):
            stems[stem.hash] = stem
    if len(stems) <= 1:
        return next(iter(stems.values()), None)
    damages = {}
    for key, stem in stems.items():
        try:
            damages[key] = state.executor.submit(tasks.look, stem, None, _SAMPLES).result().damage
        except CandidateFailed:
            damages[key] = float("inf")
    return stems[min(damages, key=damages.__getitem__)]

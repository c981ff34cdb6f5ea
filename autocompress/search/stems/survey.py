"""What may be done to the original: widths and ranks on the runtime's staircase, each with price and damage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autocompress.errors import CandidateFailed
from autocompress.passes.prune.staircase import worthwhile_widths
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.space import NONE
from autocompress.search.state import SearchState
from autocompress.search.stems import judging, tasks
from autocompress.search.stems.combined_prices import CombinedPrices
from autocompress.search.stems.ladder import cost, least_damaging
from autocompress.search.stems.losses import damage_samples, judge_branches, judge_widths
from autocompress.search.stems.options import Option, Place, stem_of, thinned
from autocompress.search.stems.reference import reference_config, reference_ms
from autocompress.search.stems.widths import GAIN, learn_widths, whole_blocks, worthwhile

_MOST_CHOICES, _MOST_DAMAGES, _FEWEST = 8, 4, 2
_SHARE = 0.04  # of the time, for prices and for damages each
_OVERRUN = 2.0  # what may be spent at most, as a multiple of the share
_HARDLY = 0.03  # of the output's variance


@dataclass(frozen=True)
class Landscape:
    """What may be done to a model.

    Attributes:
        options: every option that makes the quantized model faster, with its price and damage.
        prices: of combinations of widths.
        full_ms: estimated latency of the quantized original.
        config: how it is quantized, and every smaller form that is compared with it.
    """

    options: list[Option]
    prices: CombinedPrices
    full_ms: float
    config: QuantizeConfig


def survey(state: SearchState) -> Landscape:
    """Every option that makes the quantized model faster, with the damage of the float model.

    Raises:
        CandidateFailed: when the quantized original cannot be looked at.
    """
    space = state.settings.space
    methods = [name for name in space.decomposition if name != NONE]
    with_channels = any(name != NONE for name in space.pruning)
    with state.stopwatch.stage("search"):
        places = state.executor.submit(tasks.places, methods, with_channels).result()
        config, criterion = reference_config(state), first_criterion(state)
        full_ms = priced_ms(state, Recipe(), config)
        prices, told = learn_widths(state, [place for place in places if not place.method], config)
        followed = [worthwhile(place, prices, full_ms) for place in told if place.follows]
        judged = judge_widths(state, [options for options in followed if options], criterion)
        others = [*(place for place in told if not place.follows), *(place for place in places if place.method)]
        priced = worthwhile_options(state, others, config, full_ms)
        state.surveyed = [*judged, *_damaged(state, priced, criterion)]
        if not _suffices(state, state.surveyed, prices, full_ms):
            state.surveyed += _branches(state, config, full_ms)
    return Landscape(state.surveyed, prices, full_ms, config)


def _suffices(state: SearchState, options: Sequence[Option], prices: CombinedPrices, full_ms: float) -> bool:
    """Whether hardly anything has to be lost for the target, so that branches need not be judged, which takes long."""
    target_ms = state.limits.latency_ms
    if target_ms is None:
        return False
    taken = least_damaging(options, full_ms * (1.0 - target_ms / reference_ms(state)), prices)
    return taken is not None and sum(cost(option.damage) for option in taken) <= _HARDLY


def _branches(state: SearchState, config: QuantizeConfig, full_ms: float) -> list[Option]:
    """Residual branches that cost time, where channels may go at all."""
    if all(name == NONE for name in state.settings.space.pruning) or state.interrupted:
        return []
    places = state.executor.submit(judging.branches).result()
    priced = worthwhile_options(state, places, config, full_ms)
    return judge_branches(state, [option for options in priced for option in options])


def first_criterion(state: SearchState) -> str:
    """The criterion by which places are compared."""
    return next((name for name in state.settings.space.pruning if name != NONE), "l2")


def priced_ms(state: SearchState, stem: Recipe, config: QuantizeConfig) -> float:
    """Estimated latency of the quantized stem; inf where it cannot be made."""
    assert state.estimator is not None
    try:
        seen = state.executor.submit(tasks.look, stem, config, 0).result()
    except CandidateFailed:
        return float("inf")
    return state.estimator.estimate(seen.ops).latency_ms


def worthwhile_options(
    state: SearchState, places: Sequence[Place], config: QuantizeConfig, full_ms: float
) -> list[list[Option]]:
    """The worthwhile choices of each place; fewer are looked at where looking takes long."""
    state.progress.stage("price smaller layers", total=len(places))
    found = []
    most, spent_s, looks = _MOST_CHOICES, 0.0, 0
    for position, place in enumerate(places):
        begin = time.monotonic()
        choices = thinned(whole_blocks(place), most)
        prices = [priced_ms(state, stem_of([Option(place, choice)], "l2"), config) for choice in choices]
        steps = worthwhile_widths(list(range(len(choices), 0, -1)), prices, len(choices) + 1, full_ms, GAIN)
        kept = [(choices[len(choices) - step.width], step.latency_ms) for step in steps]
        found.append([Option(place, choice, full_ms - ms) for choice, ms in kept])
        spent_s, looks = spent_s + time.monotonic() - begin, looks + len(choices)
        most = _affordable(state, spent_s, looks, len(places) - position - 1, _MOST_CHOICES)
        state.progress.advance()
        if state.interrupted or not most:
            break
    return [options for options in found if options]


def _damaged(state: SearchState, priced: Sequence[Sequence[Option]], criterion: str) -> list[Option]:
    """The damage of each option; of those that take longer than there is time, the mildest and strongest alone."""
    state.progress.stage("measure what smaller layers lose", total=len(priced))
    found: list[Option] = []
    most, begin = _MOST_DAMAGES, time.monotonic()
    samples = damage_samples(state, _FEWEST * len(priced))
    for position, options in enumerate(priced):
        for option in spread(options, most):
            found.append(replace(option, damage=_damage(state, option, criterion, samples)))
            most = _affordable(state, time.monotonic() - begin, len(found), len(priced) - position - 1, _MOST_DAMAGES)
            if not most:
                break
        state.progress.advance()
        if not most:
            break
    return found


def spread(options: Sequence[Option], most: int) -> list[Option]:
    """At most so many of the options of one place, evenly, the strongest among them."""
    kept = set(thinned([float(i) for i in range(len(options))], most))
    return [option for i, option in enumerate(options) if float(i) in kept]


def _damage(state: SearchState, option: Option, criterion: str, samples: int) -> float:
    try:
        seen = state.executor.submit(tasks.look, stem_of([option], criterion), None, samples).result()
    except CandidateFailed:
        return float("inf")
    return float(seen.damage)


def _affordable(state: SearchState, spent_s: float, looks: int, places_left: int, most: int) -> int:
    """How many choices of each further place there is time for; all where no clock may steer."""
    if state.settings.deterministic or state.settings.timeout_s is None or not places_left:
        return most
    share_s = _SHARE * state.settings.timeout_s
    if spent_s > _OVERRUN * share_s:
        return 0
    fitting = int((share_s - spent_s) / (spent_s / max(looks, 1)) / places_left)
    # With a single choice only the strongest would be known.
    return max(min(fitting, most), _FEWEST)

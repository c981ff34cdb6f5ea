"""Recipes of sparse stems, from mild to strong: the least damaging zeros for the compressed size that is asked for.

Savings by layer are estimates.  What is chosen is therefore made and really compressed as a whole, and the choice is
corrected until it fits; what a candidate takes in the end is measured when it is built.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from autocompress.errors import CandidateFailed
from autocompress.passes.recover import RecoverConfig
from autocompress.passes.sparsify import SparsifyConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.counted_size import counted_bytes
from autocompress.search.space import NONE
from autocompress.search.state import SearchState
from autocompress.search.stems import sparse_tasks
from autocompress.search.stems.knapsack import cheapest
from autocompress.search.stems.ladder import cost
from autocompress.search.stems.reference import pricing_config
from autocompress.search.stems.sparse_speed import faster_options, latency_of, wants_speed
from autocompress.search.stems.sparse_survey import SparseOption, survey_criterion, survey_zeros

# Of what is asked for: just within it (training changes a little what weights compress to), and with room for layers
# that have to stay in floating point.
_AROUND_TARGET = (0.97, 0.9, 0.8)
_FAR = 0.75  # of the dense stem: a target below that is far
_ROUNDS = 5
_CLOSE = 0.005
_LEAST_CORRECTION = 0.5
_NEARLY = 0.999
_SAMPLES = 16


@dataclass(frozen=True)
class _Goal:
    """What the whole stem is to come down to: compressed bytes, or milliseconds.

    Attributes:
        full: of the dense stem, quantized.
        limits: to reach, from mild to strong.
        of_time: whether both are milliseconds.
    """

    full: float
    limits: tuple[float, ...]
    of_time: bool


def propose_sparse_stems(state: SearchState, base: Recipe) -> Iterator[Recipe]:
    """Sparse stems with closed-form recovery, mild ones first; each is worked out when it is asked for.

    Args:
        state: of the search.
        base: the stem that becomes sparse; its recovery is done anew.
    """
    before = replace(base, sparsify=None, recover=None)
    try:
        goal, options = _goal_and_options(state, before)
    except CandidateFailed as error:
        state.notice(f"no zeros were tried: {error}")
        return
    seen: set[str] = set()
    for limit in goal.limits:
        try:
            chosen = _within(state, before, goal, options, limit)
            if not chosen:
                continue
            config = _least_damaging_criterion(state, before, goal, chosen, limit)
        except CandidateFailed as error:
            state.notice(f"some zeros were not tried: {error}")
            continue
        stem = replace(before, sparsify=config, recover=RecoverConfig(level="closed_form", seed=state.settings.seed))
        if stem.hash not in seen:
            seen.add(stem.hash)
            yield stem


def _goal_and_options(state: SearchState, base: Recipe) -> tuple[_Goal, list[SparseOption]]:
    options = survey_zeros(state, base, every=wants_speed(state))
    seen = _look(state, base, None)
    if not wants_speed(state):
        assert state.limits.size_bytes is not None
        full = float(counted_bytes(seen, state.settings.size_as))
        least = min(full, state.limits.size_bytes)
        # Half-way first: what can be had where the target costs too much.
        middle = ((full * least) ** 0.5,) if least < _FAR * full else ()
        return _Goal(full, (*middle, *(share * least for share in _AROUND_TARGET)), of_time=False), options
    assert state.limits.latency_ms is not None
    full = latency_of(state, seen)
    # The scale of estimates is not that of measurements, so what is missing counts, not what is asked for.
    missing = min(state.limits.latency_ms / min(map(state.latency_ms, state.own_trials)), 1.0)
    limits = tuple(share * missing * full for share in _AROUND_TARGET)
    return _Goal(full, limits, of_time=True), faster_options(state, base, options)


def _within(
    state: SearchState, base: Recipe, goal: _Goal, options: Sequence[SparseOption], limit: float
) -> list[SparseOption]:
    """The least damaging options whose model as a whole is just within a limit, or as near to it as they come."""
    usable = [option for option in options if math.isfinite(option.damage) and option.saved > 0]
    wanted, most = goal.full - limit, _most(usable)
    best: tuple[bool, float, list[SparseOption]] = (True, math.inf, [])
    for _ in range(_ROUNDS):
        chosen = _cheapest(usable, wanted) or _cheapest(usable, _NEARLY * most)
        if not chosen:
            break
        reached = _measure(state, base, goal, chosen)
        best = min(best, (reached > limit, abs(reached - limit), chosen), key=lambda tried: tried[:2])
        if limit * (1 - 3 * _CLOSE) <= reached <= limit or wanted >= most:
            break
        # Too much is corrected as well as too little: every needless zero costs accuracy.
        short = (goal.full - limit * (1 - _CLOSE)) / max(goal.full - reached, 1e-9 * goal.full)
        wanted *= min(max(short, _LEAST_CORRECTION), 1.0 / _LEAST_CORRECTION)
    return best[2]


def _cheapest(options: Sequence[SparseOption], wanted: float) -> list[SparseOption]:
    costs, saved = [cost(option.damage) for option in options], [option.saved for option in options]
    taken = cheapest(costs, saved, [option.layer for option in options], wanted)
    return [options[i] for i in taken or ()]


def _most(options: Sequence[SparseOption]) -> float:
    """What all layers together save at most, by the same sum."""
    best: dict[str, float] = {}
    for option in options:
        best[option.layer] = max(best.get(option.layer, 0.0), option.saved)
    return sum(best.values())


def _measure(state: SearchState, base: Recipe, goal: _Goal, chosen: Sequence[SparseOption]) -> float:
    return _reached(state, goal, _look(state, base, _config(chosen, survey_criterion(state))))


def _reached(state: SearchState, goal: _Goal, seen: sparse_tasks.SparseLook) -> float:
    """What a model comes down to, in the unit of the goal."""
    return latency_of(state, seen) if goal.of_time else float(counted_bytes(seen, state.settings.size_as))


def _look(state: SearchState, base: Recipe, config: SparsifyConfig | None, samples: int = 0) -> sparse_tasks.SparseLook:
    return state.executor.submit(sparse_tasks.look, base, config, pricing_config(state), samples).result()


def _least_damaging_criterion(
    state: SearchState, base: Recipe, goal: _Goal, chosen: Sequence[SparseOption], limit: float
) -> SparsifyConfig:
    """The same zeros per layer under every criterion of the space; the one whose output is nearest to the original's.

    One that changes weights may compress to something else, so those that do not fit come last.
    """
    configs = [_config(chosen, name) for name in state.settings.space.sparsity if name != NONE]
    if len(configs) == 1:
        return configs[0]
    found = []
    for position, config in enumerate(configs):
        try:
            seen = _look(state, base, config, _SAMPLES)
        except CandidateFailed:
            continue
        fits = _reached(state, goal, seen) <= limit / _AROUND_TARGET[0]
        found.append((not fits, seen.damage, position))
    return configs[min(found)[2]] if found else configs[0]


def _config(chosen: Sequence[SparseOption], criterion: str) -> SparsifyConfig:
    return SparsifyConfig(tuple((option.layer, option.pattern) for option in chosen), criterion)

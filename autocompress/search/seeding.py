"""The recipes that a study begins with: whole-model schemes, the fastest assignment, and a ladder in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from autocompress.passes.quantize import FP32, INT8
from autocompress.recipe.recipe import Recipe
from autocompress.search.encoding import allowed_options
from autocompress.search.prices import OPTIONS
from autocompress.search.probes import with_options
from autocompress.search.proposals import Proposal
from autocompress.search.seeds import LadderProblem, Rung, ladder
from autocompress.search.state import SearchState
from autocompress.search.surcharge import choices_of

# Rungs aim a little below the target, because a price is not a measurement.
_MARGIN = 0.02
# Latencies nearer to each other than this are not told apart.
_CLOSE = 0.015
# What is wanted small may be a little slower than the original.
_SLACK = 1.05


def propose_whole_model(state: SearchState) -> list[Proposal]:
    """The first trials of every study: the least damaging schemes on the whole model, and the fastest assignment."""
    kept = [_in_space(state, s.recipe) for s in state.screened[: state.settings.space.screen]]
    if state.settings.space.per == "unit":
        assert state.scheme is not None
        rung = _problem(state).fastest()
        state.fastest = rung.options
        kept.insert(1, _with_options(state, state.scheme, rung))
    recipes = {recipe.hash: recipe for recipe in kept}
    return _as_proposals(state, list(recipes.values()), "screen")


def propose_ladder(state: SearchState) -> list[Proposal]:
    """Recipes from integer programming, around the target where there is one."""
    if state.settings.space.per != "unit":
        return []
    assert state.scheme is not None
    recipes = [_with_options(state, state.scheme, rung) for rung in _rungs(state)]
    return _as_proposals(state, recipes, "seed")


def middle_rung(state: SearchState) -> Rung | None:
    """The assignment on which schemes are compared: at the target, else half-way between fastest and float."""
    problem, fastest = _problem(state), fastest_ms(state)
    target = state.steering.latency_ms
    if target is None or target <= fastest:
        target = (fastest * _float_ms(state)) ** 0.5
    return problem.solve(target * (1 - _MARGIN)) or problem.solve(target)


def _problem(state: SearchState) -> LadderProblem:
    """The integer program under the scheme's equalization."""
    assert state.damage is not None and state.prices is not None and state.scheme is not None
    damage = np.where(allowed_options(state.regions, state.settings.space), state.damage, np.inf)
    return LadderProblem(state.prices.under(choices_of(state.scheme)), damage)


def _float_ms(state: SearchState) -> float:
    assert state.prices is not None
    return float(state.prices.price_ms(np.zeros((1, len(state.regions)), np.int64))[0])


def _rungs(state: SearchState) -> list[Rung]:
    problem = _problem(state)
    unlimited, fastest = _float_ms(state), fastest_ms(state)
    target = state.steering.latency_ms
    if state.steering.size_bytes is not None:
        return _rungs_by_size(problem, state.steering.size_bytes, unlimited if target is None else target)
    if target is None or target <= fastest:
        return ladder(problem, fastest * 1.01, unlimited, 7)
    limits = [fastest * 1.005, *(target * factor for factor in (1 - _MARGIN, 0.95, 0.9, 1.12, 1.3, 1.6))]
    found = [problem.solve(limit) for limit in limits]
    distinct = {rung.options: rung for rung in found if rung is not None}
    return list(distinct.values())


def _rungs_by_size(problem: LadderProblem, size_bytes: float, latency_ms: float) -> list[Rung]:
    """The least damaging assignments for sizes around the one asked for, and the smallest."""
    limits = [size_bytes * factor for factor in (1 - _MARGIN, 0.95, 0.85, 1.0)]
    smallest = problem.smallest_bytes()
    if np.isfinite(smallest):
        limits += [smallest * 1.001, (smallest * size_bytes) ** 0.5]
    found = [problem.solve(latency_ms * _SLACK, size_limit_bytes=limit) for limit in limits]
    return list({rung.options: rung for rung in found if rung is not None}.values())


def fastest_ms(state: SearchState) -> float:
    """Least price of any assignment: the integer program's where there is one, else of one option for all."""
    assert state.prices is not None
    allowed = allowed_options(state.regions, state.settings.space)
    usable = allowed & np.isfinite(state.prices.region_us)
    # One precision for the whole model leaves units in float that cannot have it.
    otherwise = allowed.argmax(axis=1) if state.settings.space.per == "unit" else 0
    rows = [np.where(usable[:, option], option, otherwise) for option in range(usable.shape[1])]
    if state.fastest:
        rows.append(np.array(state.fastest))
    options = np.stack(rows).astype(np.int64)
    return min(float(prices.price_ms(options).min()) for prices in (state.prices, *state.prices.forms.values()))


def smallest_bytes(state: SearchState) -> float:
    """Least size of any assignment, by the prices; inf where sizes are not known."""
    return _problem(state).smallest_bytes()


def _with_options(state: SearchState, scheme: Recipe, rung: Rung) -> Recipe:
    return _mixed(state, scheme, [OPTIONS[option] for option in rung.options])


def _mixed(state: SearchState, scheme: Recipe, options: Sequence[str]) -> Recipe:
    assert scheme.quantize is not None
    base = replace(scheme.quantize, precision=INT8, exceptions=())
    return replace(scheme, quantize=with_options(base, state.regions, options))


def _in_space(state: SearchState, scheme: Recipe) -> Recipe:
    """A whole-model scheme as the space writes it: with a precision per unit where the space has one."""
    assert state.encoding is not None and scheme.quantize is not None
    if state.settings.space.per == "unit" and not scheme.quantize.exceptions:
        precision = scheme.quantize.precision
        scheme = _mixed(state, scheme, [precision if precision in r.options else FP32 for r in state.regions])
    return state.encoding.to_recipe(state.encoding.to_params(scheme))


def _as_proposals(state: SearchState, recipes: Sequence[Recipe], origin: str) -> list[Proposal]:
    assert state.scorer is not None and state.encoding is not None
    fresh = [r for r in recipes if r not in state.ledger]
    if not fresh:
        return []
    return state.scorer.propose(state.encoding, [state.encoding.to_params(r) for r in fresh], origin)


def propose_between(state: SearchState) -> list[Proposal]:
    """A recipe of the integer program between the fastest trial within the accuracy limit and the next faster one.

    Only where no latency is asked for: it closes in on the fastest model within the limit.
    """
    if state.settings.space.per != "unit" or state.steering.latency_ms is not None:
        return []
    trials = state.own_trials
    limit = state.steering.accuracy_drop
    within = [state.latency_ms(t) for t in trials if t.evaluated.drop.drop <= limit and not t.evaluated.stopped_early]
    slow_ms = min(within, default=state.baseline_ms)
    fast_ms = max((ms for ms in map(state.latency_ms, trials) if ms < slow_ms), default=fastest_ms(state))
    if fast_ms >= slow_ms * (1 - _CLOSE):
        return []
    rung = _problem(state).solve((slow_ms * fast_ms) ** 0.5)
    if rung is None:
        return []
    assert state.scheme is not None
    return _as_proposals(state, [_with_options(state, state.scheme, rung)], "seed")

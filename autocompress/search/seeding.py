"""The recipes that a study begins with: whole-model schemes, the fastest assignment, and a ladder in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from autocompress.passes.quantize import FP32, INT8, QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.prices import OPTIONS
from autocompress.search.probes import with_options
from autocompress.search.proposals import Proposal
from autocompress.search.seeds import LadderProblem, Rung, ladder
from autocompress.search.state import SearchState

# Rungs aim a little below the target, because a price is not a measurement.
_MARGIN = 0.02
# Latencies nearer to each other than this are not told apart.
_CLOSE = 0.015


def propose_whole_model(state: SearchState) -> list[Proposal]:
    """The first trials of every study: the least damaging schemes on the whole model, and the fastest assignment."""
    kept = [_in_space(state, s.config) for s in state.screened[: state.settings.space.screen]]
    if state.settings.space.per == "unit":
        assert state.damage is not None and state.prices is not None
        rung = LadderProblem(state.prices, state.damage).fastest()
        state.fastest = rung.options
        kept.insert(1, _with_options(state, state.screened[0].config, rung))
    recipes = {recipe.hash: recipe for recipe in map(Recipe, kept)}
    return _as_proposals(state, list(recipes.values()), "screen")


def propose_ladder(state: SearchState) -> list[Proposal]:
    """Recipes from integer programming, around the target where there is one."""
    if state.settings.space.per != "unit":
        return []
    best = state.screened[0].config
    recipes = [Recipe(_with_options(state, best, rung)) for rung in _rungs(state)]
    return _as_proposals(state, recipes, "seed")


def _rungs(state: SearchState) -> list[Rung]:
    assert state.damage is not None and state.prices is not None
    problem = LadderProblem(state.prices, state.damage)
    unlimited = float(state.prices.price_ms(np.zeros((1, len(state.regions)), np.int64))[0])
    fastest = fastest_ms(state)
    target = state.steering.latency_ms
    if target is None or target <= fastest:
        return ladder(problem, fastest * 1.01, unlimited, 7)
    limits = [fastest * 1.005, *(target * factor for factor in (1 - _MARGIN, 0.95, 0.9, 1.12, 1.3, 1.6))]
    found = [problem.solve(limit) for limit in limits]
    distinct = {rung.options: rung for rung in found if rung is not None}
    return list(distinct.values())


def fastest_ms(state: SearchState) -> float:
    """Least price of any assignment: the integer program's where there is one, else of one option for all."""
    assert state.prices is not None
    rows = [
        np.where(np.isfinite(state.prices.region_us[:, option]), option, 0)
        for option in range(state.prices.region_us.shape[1])
    ]
    if state.fastest:
        rows.append(np.array(state.fastest))
    return float(state.prices.price_ms(np.stack(rows).astype(np.int64)).min())


def _with_options(state: SearchState, scheme: QuantizeConfig, rung: Rung) -> QuantizeConfig:
    base = replace(scheme, precision=INT8, exceptions=())
    return with_options(base, state.regions, [OPTIONS[option] for option in rung.options])


def _in_space(state: SearchState, config: QuantizeConfig) -> QuantizeConfig:
    """A whole-model scheme as the space writes it: with a precision per unit where the space has one."""
    assert state.encoding is not None
    recipe = state.encoding.to_recipe(state.encoding.to_params(Recipe(_spelled_out(state, config))))
    assert recipe.quantize is not None
    return recipe.quantize


def _spelled_out(state: SearchState, config: QuantizeConfig) -> QuantizeConfig:
    if state.settings.space.per == "model":
        return config
    base = replace(config, precision=INT8, exceptions=())
    options = [config.precision if config.precision in r.options else FP32 for r in state.regions]
    return with_options(base, state.regions, options)


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
    assert state.damage is not None and state.prices is not None
    trials = state.ledger.complete
    limit = state.steering.accuracy_drop
    within = [state.latency_ms(t) for t in trials if t.evaluated.drop.drop <= limit and not t.evaluated.stopped_early]
    slow_ms = min(within, default=state.baseline_ms)
    fast_ms = max((ms for ms in map(state.latency_ms, trials) if ms < slow_ms), default=fastest_ms(state))
    if fast_ms >= slow_ms * (1 - _CLOSE):
        return []
    rung = LadderProblem(state.prices, state.damage).solve((slow_ms * fast_ms) ** 0.5)
    if rung is None:
        return []
    return _as_proposals(state, [Recipe(_with_options(state, state.screened[0].config, rung))], "seed")

"""The last stage before verification: better weights for the best few, where accuracy is what limits.

Reconstruction costs seconds to minutes for one candidate and does not change its speed, so it is no choice that the
exploration makes: what explored well gets it, in the time that is left.  Rounding comes first; where that is not
enough, and recovery may train, the best candidate is trained as it is quantized (``distilling``).
"""

from __future__ import annotations

import math
from dataclasses import replace

from autocompress.errors import CandidateFailed
from autocompress.passes.reconstruct import DISTILL, ReconstructConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search import tasks
from autocompress.search.distilling import distilled, training_s
from autocompress.search.explore import evaluate, expected_drops, ranked, trials_left
from autocompress.search.proposals import Proposal
from autocompress.search.reserve import searching_until
from autocompress.search.space import NONE
from autocompress.search.state import SearchState
from autocompress.search.trials import Trial
from autocompress.search.waiting import wait_for

_MOST = 2
_LEAST_S, _LONGEST_S = 10.0, 600.0
_HARMLESS = 0.25
# What loses more than so many times the limit is not brought below it by rounding alone, or by training.
_REACH, _REACH_OF_TRAINING = 4.0, 20.0
_ROUNDING_PART = 0.3  # of the time, where training follows
_FASTER = 0.97
_DAMAGE_SAMPLES = 16


def polish(state: SearchState) -> None:
    """Reconstructs and evaluates the most promising candidates, each in its share of the time left."""
    methods = [name for name in state.settings.space.reconstruction if name not in (NONE, DISTILL)]
    trains = DISTILL in state.settings.space.reconstruction and state.settings.recovery in ("light", "full")
    if not state.interrupted and methods:
        _round(state, methods, _left_s(state, _ROUNDING_PART if trains else 1.0))
    if not state.interrupted and trains:
        _train(state)


def _round(state: SearchState, methods: list[str], left_s: float | None) -> None:
    jobs = [(trial, method) for trial in _promising(state, _REACH) for method in methods]
    end_s = None if left_s is None else state.stopwatch.elapsed_s + left_s
    for position, (trial, method) in enumerate(jobs):
        deadline_s = None
        if end_s is not None:
            deadline_s = min((end_s - state.stopwatch.elapsed_s) / (len(jobs) - position), _LONGEST_S)
        if state.interrupted or not trials_left(state) or (deadline_s is not None and deadline_s < _LEAST_S):
            return
        config = ReconstructConfig(method=method, seed=state.settings.seed)
        _polished(state, trial, replace(trial.recipe, reconstruct=config), deadline_s)


def _train(state: SearchState) -> None:
    """Trains the most promising candidate as it is quantized."""
    for trial in _promising(state, _REACH_OF_TRAINING)[:1]:
        left_s = _left_s(state, 1.0)
        if not trials_left(state) or (left_s is not None and left_s < _LEAST_S):
            return
        recipe = distilled(state, trial.recipe)
        try:
            deadline_s = training_s(state, recipe, left_s)
        except CandidateFailed as error:
            state.notice(f"trial {trial.number} was not trained: {error}")
            return
        if deadline_s is None or deadline_s > 0:
            _polished(state, trial, recipe, deadline_s)


def _polished(state: SearchState, trial: Trial, recipe: Recipe, deadline_s: float | None) -> None:
    stem = state.stem_of(trial.recipe)
    if stem is None or stem.scorer is None:
        return  # of a study that was resumed, whose smaller models are not open
    state.stem = stem
    if recipe not in state.ledger and _reconstructed(state, trial, recipe, deadline_s):
        evaluate(state, [_proposal(state, trial, recipe)])


def _promising(state: SearchState, reach: float) -> list[Trial]:
    """Trials that a little more accuracy would make the best, the most promising first.

    Args:
        state: of the search.
        reach: the largest expected drop, as a multiple of the limit.
    """
    order = ranked(state)
    expected = dict(zip((t.number for t in state.ledger.complete), expected_drops(state), strict=True))
    limit = state.steering.accuracy_drop
    near = [t for t in order if expected[t.number] <= reach * limit]
    plain = [t for t in near if t.recipe.reconstruct is None]
    kept = [t for t in near if _keeps_speed_and_size(state, t)] if state.steering.has_target else []
    if kept:
        if min(expected[t.number] for t in kept) <= _HARMLESS * limit:
            return []
        return sorted((t for t in kept if t in plain), key=lambda t: expected[t.number])[:_MOST]
    within = [state.latency_ms(t) for t in order if expected[t.number] <= limit]
    fastest = min(within, default=state.baseline_ms)
    faster = [t for t in plain if state.latency_ms(t) < _FASTER * fastest and expected[t.number] > limit]
    return sorted(faster, key=lambda t: expected[t.number])[:_MOST]


def _keeps_speed_and_size(state: SearchState, trial: Trial) -> bool:
    speedup = state.baseline_ms / state.latency_ms(trial)
    return state.steering.met_by(drop=0.0, speedup=speedup, size_bytes=state.limits.counted_bytes(trial.evaluated))


def _left_s(state: SearchState, part: float) -> float | None:
    """A part of the seconds left before verification: infinite without a limit, None where no clock may steer."""
    if state.settings.deterministic:
        return None
    if state.settings.timeout_s is None:
        return math.inf
    return part * max(searching_until(state) * state.settings.timeout_s - state.stopwatch.elapsed_s, 0.0)


def _reconstructed(state: SearchState, trial: Trial, recipe: Recipe, deadline_s: float | None) -> bool:
    """Has the weights rounded or trained, and tells the predictor what that does to the damage."""
    assert state.scorer is not None and recipe.reconstruct is not None
    trains = recipe.reconstruct.training is not None
    state.progress.stage(f"reconstruct trial {trial.number}", limit_s=deadline_s)
    with state.stopwatch.stage("search"):
        try:
            path = None if state.folder is None else state.folder / f"progress-{recipe.hash}.json"
            future = state.executor.submit(tasks.reconstruct, recipe, deadline_s, path)
            told = wait_for(state, future, path, "reconstruct", trains=trains)
            before, after = state.executor.submit(tasks.damages, [trial.recipe, recipe], _DAMAGE_SAMPLES).result()
        except CandidateFailed as error:
            state.notice(f"trial {trial.number} was not reconstructed: {error}")
            return False
        except KeyboardInterrupt:
            state.interrupted = True
            return False
    if not told.layers:
        return False
    relative = state.scorer.known.relative_damage(trial.recipe) * after.damage / max(before.damage, 1e-12)
    state.scorer.known.set_relative_damage(recipe, relative)
    if trains:
        return True  # nearer to the original on samples that nobody trained with, or nothing would have been learnt
    if after.damage >= before.damage:
        state.notice(f"trial {trial.number} was not reconstructed: its output is no nearer to the original's")
    return bool(after.damage < before.damage)


def _proposal(state: SearchState, trial: Trial, recipe: Recipe) -> Proposal:
    assert state.scorer is not None
    mean, deviation, latency_ms = state.scorer.score([recipe])
    return Proposal(recipe, trial.params, float(mean[0]), float(deviation[0]), float(latency_ms[0]), "polish")

"""The last stage before verification: rounding by reconstruction for the best few, where accuracy is what limits.

Reconstruction costs seconds to minutes for one candidate and does not change its speed, so it is no choice that the
exploration makes: what explored well gets it, in the time that is left.
"""

from __future__ import annotations

from dataclasses import replace

from autocompress.errors import CandidateFailed
from autocompress.passes.reconstruct import ReconstructConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search import tasks
from autocompress.search.explore import evaluate, expected_drops, ranked, trials_left
from autocompress.search.proposals import Proposal
from autocompress.search.space import NONE
from autocompress.search.state import SearchState
from autocompress.search.trials import Trial
from autocompress.search.waiting import wait_for

_MOST = 2
_LEAST_S, _LONGEST_S = 10.0, 600.0
# Of the whole time; the rest is for verification.
_UNTIL = 0.8
_HARMLESS = 0.25
# What loses more than so many times the limit is not brought below it by rounding alone.
_REACH = 4.0
_FASTER = 0.97
_DAMAGE_SAMPLES = 16


def polish(state: SearchState) -> None:
    """Reconstructs and evaluates the most promising candidates, each in its share of the time left."""
    methods = [name for name in state.settings.space.reconstruction if name != NONE]
    if state.interrupted or not methods:
        return
    chosen = _promising(state)
    jobs = [(trial, method) for trial in chosen for method in methods]
    for position, (trial, method) in enumerate(jobs):
        deadline_s = _deadline_s(state, len(jobs) - position)
        if state.interrupted or not trials_left(state) or (deadline_s is not None and deadline_s < _LEAST_S):
            return
        stem = state.stem_of(trial.recipe)
        if stem is None or stem.scorer is None:
            continue  # of a study that was resumed, whose smaller models are not open
        state.stem = stem
        recipe = replace(trial.recipe, reconstruct=ReconstructConfig(method=method, seed=state.settings.seed))
        if recipe not in state.ledger and _reconstructed(state, trial, recipe, deadline_s):
            evaluate(state, [_proposal(state, trial, recipe)])


def _promising(state: SearchState) -> list[Trial]:
    """Trials that a little more accuracy would make the best, the most promising first."""
    order = ranked(state)
    expected = dict(zip((t.number for t in state.ledger.complete), expected_drops(state), strict=True))
    limit = state.steering.accuracy_drop
    plain = [t for t in order if t.recipe.reconstruct is None and expected[t.number] <= _REACH * limit]
    kept = [t for t in plain if _keeps_speed_and_size(state, t)] if state.steering.has_target else []
    if kept:
        least = min(expected[t.number] for t in kept)
        return [] if least <= _HARMLESS * limit else sorted(kept, key=lambda t: expected[t.number])[:_MOST]
    within = [state.latency_ms(t) for t in order if expected[t.number] <= limit]
    fastest = min(within, default=state.baseline_ms)
    faster = [t for t in plain if state.latency_ms(t) < _FASTER * fastest and expected[t.number] > limit]
    return sorted(faster, key=lambda t: expected[t.number])[:_MOST]


def _keeps_speed_and_size(state: SearchState, trial: Trial) -> bool:
    speedup = state.baseline_ms / state.latency_ms(trial)
    return state.steering.met_by(drop=0.0, speedup=speedup, size_bytes=trial.evaluated.size_bytes)


def _deadline_s(state: SearchState, jobs: int) -> float | None:
    """Seconds for the next job; none where no clock may steer."""
    if state.settings.deterministic or state.settings.timeout_s is None:
        return None if state.settings.deterministic else _LONGEST_S
    left_s = _UNTIL * state.settings.timeout_s - state.stopwatch.elapsed_s
    return min(left_s / jobs, _LONGEST_S)


def _reconstructed(state: SearchState, trial: Trial, recipe: Recipe, deadline_s: float | None) -> bool:
    """Has the weights rounded, and tells the predictor what that does to the damage."""
    assert state.scorer is not None
    state.progress.stage(f"reconstruct trial {trial.number}", limit_s=deadline_s)
    with state.stopwatch.stage("search"):
        try:
            path = None if state.folder is None else state.folder / f"progress-{recipe.hash}.json"
            future = state.executor.submit(tasks.reconstruct, recipe, deadline_s, path)
            told = wait_for(state, future, path, "reconstruct")
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
    if after.damage >= before.damage:
        state.notice(f"trial {trial.number} was not reconstructed: its output is no nearer to the original's")
    return bool(after.damage < before.damage)


def _proposal(state: SearchState, trial: Trial, recipe: Recipe) -> Proposal:
    assert state.scorer is not None
    mean, deviation, latency_ms = state.scorer.score([recipe])
    return Proposal(recipe, trial.params, float(mean[0]), float(deviation[0]), float(latency_ms[0]), "polish")

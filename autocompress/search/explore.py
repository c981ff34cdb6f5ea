"""Evaluating trials, and exploring around the seeds until nothing better can be expected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autocompress.errors import CandidateFailed
from autocompress.latency.speedup import estimated_speedup, scaled
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search import tasks
from autocompress.search.affordable import exploring_until, stems_follow
from autocompress.search.anchors import anchored_prices
from autocompress.search.encoding import Params
from autocompress.search.pareto import front, hypervolume
from autocompress.search.proposals import Proposal, breed, choose
from autocompress.search.ranking import expected_drop, rank, standard_error
from autocompress.search.seeding import fastest_ms, propose_between, smallest_bytes
from autocompress.search.space import NONE
from autocompress.search.state import SearchState
from autocompress.search.trials import COMPLETE, FAILED, PRUNED, Trial

_TRIALS_FOR_POLISH, _MANY_TRIALS = 2, 12
_STAGNATION = 12
_MARGIN = 0.02
_PRUNED_PER_ROUND = 6
_REFERENCE_DROP = 4.0
_ENOUGH_TO_JUDGE = 3


def evaluate(state: SearchState, proposals: Sequence[Proposal], stage: str | None = None) -> list[Trial]:
    """Builds and evaluates proposals in guarded workers; failures become failed trials with their cause.

    Args:
        state: of the search.
        proposals: what to evaluate; what was evaluated before is left out.
        stage: name of a stage of its own to show, or None within a running one.
    """
    allowed = list(proposals)
    if state.settings.trials is not None:
        allowed = allowed[: max(state.settings.trials - _attempted(state), 0)]
    fresh = [p for p in allowed if p.recipe not in state.ledger]
    if stage is not None:
        state.progress.stage(stage, total=len(fresh))
    with state.stopwatch.stage("search"):
        futures = [state.executor.submit(tasks.evaluate, p.recipe) for p in fresh]
        done = []
        for proposal, future in zip(fresh, futures, strict=True):
            try:
                done.append(_finish(state, proposal, future.result()))
            except CandidateFailed as error:
                done.append(_record(state, proposal, FAILED, cause=str(error)))
            except KeyboardInterrupt:
                state.interrupted = True
                for waiting in futures:
                    waiting.cancel()
                break
    refit(state)
    _show_best(state)
    return done


def refit(state: SearchState) -> None:
    """Lets both predictors learn from what was measured of the stem at hand."""
    complete = state.own_trials
    if not complete:
        return
    assert state.scorer is not None and state.prices is not None
    if not state.settings.deterministic:
        # Measured here, or the estimates of the operators that these trials really execute.
        measured = np.array([_best_known_ms(state, t) for t in complete])
        state.probed_prices = state.probed_prices or state.prices
        recipes = [t.recipe for t in complete]
        options, added_us = state.scorer.options(recipes), state.scorer.added_us(recipes)
        state.prices = anchored_prices(state.probed_prices, options, measured, added_us)
        state.scorer.prices = state.prices
    features = state.scorer.features([t.recipe for t in complete])
    state.scorer.predictor.fit(features, np.array([t.evaluated.drop.drop for t in complete]))


def _best_known_ms(state: SearchState, trial: Trial) -> float:
    """Latency on the scale that steers, by the long timing of a finalist where there is one."""
    result = trial.verification
    if state.settings.steered_by_estimates or result is None or result.speedup is None:
        return state.latency_ms(trial)
    return state.baseline_ms / result.speedup.speedup


def ranked(state: SearchState) -> list[Trial]:
    """Complete trials, best first (see ``autocompress.search.ranking``)."""
    complete = state.ledger.complete
    return rank(complete, expected_drops(state), [state.latency_ms(t) for t in complete], state.steering)


def expected_drops(state: SearchState) -> list[float]:
    """Expected drop of each complete trial, in order: measured and predicted together."""
    complete = state.ledger.complete
    expected = {trial.number: trial.evaluated.drop.drop for trial in complete}
    for stem in state.stems.values():
        # Each stem has a predictor of its own; of a stem that is not open only measurements count.
        own = [trial for trial in complete if stem.scorer is not None and state.stem_of(trial.recipe) is stem]
        if not own:
            continue
        assert stem.scorer is not None
        mean, deviation = stem.scorer.predictor.predict(stem.scorer.features([t.recipe for t in own]))
        for trial, m, d in zip(own, mean, deviation, strict=True):
            measured = trial.evaluated.drop.drop
            expected[trial.number] = expected_drop(measured, standard_error(trial), float(m), float(d))
    return [expected[trial.number] for trial in complete]


def explore(state: SearchState) -> None:
    """Breeds, scores, builds and evaluates until nothing better can be expected or a limit is reached."""
    state.progress.stage("search", total=state.settings.trials)
    quiet = 0
    while not state.interrupted and not (stop := out_of_allowance(state)):
        if _nothing_to_gain(state):
            state.stop_reason = "the target is met at no loss that these samples could show"
            return
        if leaves_to_stems(state):
            return
        if not state.out_of_reach and _beyond_reach(state):
            state.out_of_reach = True
            state.notice(
                "the target is out of reach: the search goes on for the fastest model within the accuracy limit"
            )
        best_before = _best_key(state)
        try:
            chosen, rejected = _next_round(state)
        except KeyboardInterrupt:
            state.interrupted = True
            break
        if not chosen:
            state.stop_reason = "no recipe left that the predictors expect to be better"
            return
        evaluate(state, chosen)
        for proposal, cause in rejected:
            _record(state, proposal, PRUNED, cause=cause)
        quiet = 0 if _best_key(state) < best_before else quiet + len(chosen)
        if quiet >= _STAGNATION:
            state.stop_reason = f"the last {quiet} candidates brought nothing better"
            return
    state.stop_reason = "stopped by the user" if state.interrupted else stop


def leaves_to_stems(state: SearchState) -> bool:
    """Whether quantization alone does not reach the target, and smaller float models are still to be searched.

    Not before a candidate keeps the accuracy limit: smaller models take over its precisions, and if none of them does
    either, it is what the user gets.
    """
    if not stems_follow(state) or not (_beyond_reach(state) or _too_large(state)):
        return False
    state.out_of_reach, state.stop_reason = True, "quantization alone does not reach the target"
    return any(trial.evaluated.drop.drop <= state.limits.accuracy_drop for trial in state.own_trials)


def _beyond_reach(state: SearchState) -> bool:
    """Whether the target is faster than anything that the anchored prices allow, by more than their error."""
    assert state.prices is not None
    if state.steering.latency_ms is None or len(state.own_trials) < _ENOUGH_TO_JUDGE:
        return False
    fastest_seen = min(state.latency_ms(trial) for trial in state.own_trials)
    floor_ms = min(fastest_ms(state) * (1 - state.prices.relative_error), fastest_seen)
    return floor_ms > state.steering.latency_ms


def _too_large(state: SearchState) -> bool:
    """Whether no assignment of precisions, by its price or as built, is as small as asked for."""
    limits = state.limits
    if limits.size_bytes is None or len(state.own_trials) < _ENOUGH_TO_JUDGE:
        return False
    smallest_seen = min(limits.counted_bytes(trial.evaluated) for trial in state.own_trials)
    return min(smallest_bytes(state) * (1 - _MARGIN), smallest_seen) > limits.size_bytes


def loses_nothing(state: SearchState, trial: Trial) -> bool:
    """Whether a trial is verified to meet the target with no loss worth speaking of on either part."""
    verified = trial.verification
    if state.settings.deterministic or verified is None or not keeps_target(state, trial):
        return False
    slack = 0.1 * state.steering.accuracy_drop
    met = state.steering.met_by(
        drop=verified.drop.drop, speedup=verified.gain_low, size_bytes=state.limits.counted_bytes(verified)
    )
    return met and trial.evaluated.drop.drop <= slack and verified.drop.drop <= slack


def _nothing_to_gain(state: SearchState) -> bool:
    return state.steering.has_target and any(loses_nothing(state, trial) for trial in state.ledger.complete)


def out_of_allowance(state: SearchState) -> str:
    """Why the search may not go on, or an empty string."""
    if state.settings.trials is not None and trials_left(state) <= _kept_for_later(state):
        return f"all {state.settings.trials} trials are used"
    if not state.settings.deterministic and state.stopwatch.used(exploring_until(state)):
        return "the time is used up"
    return ""


def trials_left(state: SearchState) -> float:
    """How many candidates may still be evaluated."""
    return float("inf") if state.settings.trials is None else max(state.settings.trials - _attempted(state), 0)


def _kept_for_later(state: SearchState) -> int:
    """Trials that exploration leaves to stems, or to reconstruction where there are many."""
    if stems_follow(state):
        return (state.settings.trials or 0) // 2
    follows = any(name != NONE for name in state.settings.space.reconstruction)
    return _TRIALS_FOR_POLISH if follows and (state.settings.trials or 0) >= _MANY_TRIALS else 0


def _next_round(state: SearchState) -> tuple[list[Proposal], list[tuple[Proposal, str]]]:
    assert state.scorer is not None and state.encoding is not None
    best = [trial for trial in ranked(state) if state.stem_of(trial.recipe) is state.stem][:8]
    parents = [state.encoding.to_params(t.recipe) for t in best] + _spread_parents(state)
    with state.stopwatch.stage("search"):
        bred = breed(
            state.encoding,
            state.scorer,
            parents,
            state.in_play,
            count=state.settings.space.proposals_per_build * state.settings.workers,
            seed=state.settings.seed + len(state.ledger),
        )
        fresh = [p for p in bred if p.recipe not in state.ledger]
        measured = [(t.evaluated.drop.drop, state.latency_ms(t)) for t in state.ledger.complete]
        reference = _reference(state)
        kept, rejected = _without_hopeless(state, fresh)
        between = propose_between(state)
        count = max(2 * state.settings.workers - len(between), 1)
        chosen = between + choose(kept, measured, state.steering, reference, count=count, margin=_MARGIN)
    return chosen, rejected[:_PRUNED_PER_ROUND]


def _without_hopeless(
    state: SearchState, proposals: Sequence[Proposal]
) -> tuple[list[Proposal], list[tuple[Proposal, str]]]:
    """Prunes what the predictors say cannot keep the limits, before anything is built."""
    assert state.prices is not None
    kept, rejected = [], []
    for p in proposals:
        floor_ms = p.latency_ms * (1 - state.prices.relative_error)
        least_drop = p.drop - 2 * p.drop_deviation
        if state.steering.latency_ms is not None and floor_ms > state.steering.latency_ms:
            rejected.append(
                (p, f"estimated at {p.latency_ms:.3g} ms, over the limit of {state.steering.latency_ms:.3g} ms")
            )
        elif least_drop > state.steering.accuracy_drop:
            rejected.append(
                (p, f"predicted to lose {p.drop:.3g}, over the limit of {state.steering.accuracy_drop:.3g}")
            )
        else:
            kept.append(p)
    return kept, rejected


def _finish(state: SearchState, proposal: Proposal, result: object) -> Trial:
    from autocompress.search.results import EvaluationResult

    assert isinstance(result, EvaluationResult)
    trial = _record(state, proposal, COMPLETE, notify=False)
    trial.evaluation = result
    if result.speedup is None:
        estimate_executed(state, trial, result.ops)
    trial.damage = result.damage
    trial.build_s = result.build_s
    state.on_trial(trial)
    state.progress.advance()
    return trial


def _record(
    state: SearchState, proposal: Proposal, outcome: str, *, cause: str | None = None, notify: bool = True
) -> Trial:
    assert state.prices is not None and state.scorer is not None
    trial = Trial(
        number=len(state.ledger),
        recipe=proposal.recipe,
        params=proposal.params,
        origin=proposal.origin,
        state=outcome,
        predicted_drop=proposal.drop,
        predicted_deviation=proposal.drop_deviation,
        estimate=state.scorer.estimate(proposal.recipe),
        cause=cause,
    )
    state.ledger.add(trial)
    if notify:
        state.on_trial(trial)
    return trial


def estimate_executed(state: SearchState, trial: Trial, ops: Sequence[ExecutedOp]) -> None:
    """Gives a trial the estimate of the operators that it executes, in place of the additive one."""
    assert state.estimator is not None and state.baseline_estimate is not None
    estimate = state.estimator.estimate(ops)
    trial.estimated_speedup = estimated_speedup(state.baseline_estimate, estimate)
    trial.estimate = scaled(estimate, state.anchor)


def _attempted(state: SearchState) -> int:
    return state.ledger.count(COMPLETE) + state.ledger.count(FAILED)


def _spread_parents(state: SearchState) -> list[Params]:
    """Parents from the whole measured front, so that breeding does not collapse onto one point."""
    assert state.encoding is not None
    complete = state.own_trials
    points = [(t.evaluated.drop.drop, state.latency_ms(t)) for t in complete]
    return [state.encoding.to_params(complete[i].recipe) for i in front(points)[:12]]


def _reference(state: SearchState) -> tuple[float, float]:
    drop = max(_REFERENCE_DROP * state.steering.accuracy_drop, 1e-6)
    return drop, state.baseline_ms * 1.1


def _best_key(state: SearchState) -> tuple[float, float]:
    """What counts as better: with a target the expected best's drop, without one the measured hypervolume."""
    order = ranked(state)
    if not order:
        return (float("inf"), float("inf"))
    best = order[0]
    if state.steering.has_target and keeps_target(state, best):
        return (0.0, round(max(best.evaluated.drop.drop, 0.0), 4))
    points = [(max(t.evaluated.drop.drop, 0.0), state.latency_ms(t)) for t in state.ledger.complete]
    reference = _reference(state)
    return (1.0, -round(hypervolume(points, reference) / (reference[0] * reference[1]), 3))


def keeps_target(state: SearchState, trial: Trial) -> bool:
    """Whether a trial, as measured on the search part, keeps every limit."""
    return state.steering.met_by(
        drop=trial.evaluated.drop.drop,
        speedup=state.baseline_ms / state.latency_ms(trial),
        size_bytes=state.limits.counted_bytes(trial.evaluated),
    )


def keeps_speed_and_size(state: SearchState, trial: Trial) -> bool:
    """Whether a trial, as measured on the search part, keeps the limits on speed and size that were asked for."""
    speedup = state.baseline_ms / state.latency_ms(trial)
    return state.limits.met_by(drop=0.0, speedup=speedup, size_bytes=state.limits.counted_bytes(trial.evaluated))


def _show_best(state: SearchState) -> None:
    order = ranked(state)
    if order:
        best, result = order[0], order[0].evaluated
        if result.speedup is not None:
            state.progress.best(f"{result.speedup.speedup:.2f}x, drop {result.drop.drop:.4g}")
        elif best.estimated_speedup is not None:
            state.progress.best(f"{best.estimated_speedup.speedup:.2f}x estimated, drop {result.drop.drop:.4g}")

"""Verification: finalists are measured on samples that the search never saw and timed against the baseline."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autocompress.errors import CandidateFailed
from autocompress.search import tasks
from autocompress.search.counted_size import FILE
from autocompress.search.explore import keeps_target, loses_nothing, ranked
from autocompress.search.finalists import known_latency
from autocompress.search.state import SearchState
from autocompress.search.trials import FAILED, Trial

_MOST_FINALISTS = 6
_EARLY_FINALISTS = 2
_ENOUGH_LOST, _MOST_OF_THE_ORIGINAL = 2, 3


@dataclass(frozen=True)
class Outcome:
    """How a search ended.

    Attributes:
        best: the trial to emit, verified; None when the original model is the best that holds.
        target_met: whether ``best`` keeps every limit, as verified.
        reason: one sentence: why the target was not met, or why the search ended.
        by_estimate: whether ``best`` keeps every limit, a latency among them, as far as estimates go.
    """

    best: Trial | None
    target_met: bool
    reason: str
    by_estimate: bool = False


def verify(state: SearchState, trial: Trial) -> bool:
    """Verifies one trial (once); says whether it keeps every limit."""
    assert state.budget is not None
    if trial.verification is None and trial.state != FAILED:
        state.progress.stage(f"verify trial {trial.number}")
        with state.stopwatch.stage("verify"):
            try:
                trial.verification = known_latency(
                    state, trial, state.executor.submit(tasks.verify, trial.recipe).result()
                )
            except CandidateFailed as error:
                trial.state, trial.cause = FAILED, f"verification failed: {error}"
                state.notice(f"trial {trial.number} was left out: {trial.cause}")
                state.on_trial(trial)
                return False
        state.verified.append(trial)
        state.on_trial(trial)
    return meets(state, trial)


def verify_early(state: SearchState) -> None:
    """Verifies what seems to meet the target as soon as it does, so that a stop at any time has a result."""
    for trial in ranked(state)[:_EARLY_FINALISTS]:
        if state.interrupted or state.first_met_s is not None or not keeps_target(state, trial):
            return
        verify(state, trial)


def meets(state: SearchState, trial: Trial) -> bool:
    """Whether a verified trial keeps every limit."""
    result = trial.verification
    assert state.budget is not None
    met = result is not None and state.budget.met_by(
        drop=result.drop.drop, speedup=result.gain, size_bytes=state.budget.counted_bytes(result)
    )
    if met and state.first_met_s is None:
        state.first_met_s = state.stopwatch.elapsed_s
    return met


def conclude(state: SearchState) -> Outcome:
    """How the search ends; what is met by an estimate alone is not verified to be met."""
    outcome = _concluded(state)
    if outcome.best is None or outcome.best.verification is None or outcome.best.verification.speedup is not None:
        return outcome
    assert state.budget is not None
    if not outcome.target_met or state.budget.speedup is None:
        return outcome
    return replace(outcome, target_met=False, by_estimate=True)


def _concluded(state: SearchState) -> Outcome:
    """Verifies finalists from the best down until one holds; else names the best that is feasible.

    The order comes from the search part alone, so that the verification part is not used to pick the luckiest.  A
    finalist whose speedup exceeds the target only by less than the interval of its timing is kept in reserve.
    """
    assert state.budget is not None
    # What is verified to lose nothing needs no better.
    order = sorted(ranked(state), key=lambda trial: not loses_nothing(state, trial))
    # After a stop by the user, what is already verified is emitted at once.
    if state.settings.deterministic:
        return _conclude_by_table(state, order)
    finalists = order if not state.interrupted else [t for t in order if t.verification is not None] or order[:1]
    waiting = list(finalists)
    for _ in range(min(len(finalists), _MOST_FINALISTS)):
        trial = _next_finalist(state, waiting)
        waiting.remove(trial)
        verify(state, trial)
        if _surely_meets(state, trial):
            return Outcome(trial, True, state.stop_reason)
        if not _worth_going_on(state, waiting):
            break
    _verify_original(state, finalists)
    held = [t for t in finalists if meets(state, t) and _acceptable(state, t)]
    if held:
        return Outcome(held[0], True, state.stop_reason)
    acceptable = [t for t in state.verified if _acceptable(state, t)]
    if not acceptable:
        return Outcome(None, not state.budget.has_target, _why_nothing(state))
    nearest = min(acceptable, key=lambda trial: _farness(state, trial))
    return Outcome(nearest, not state.budget.has_target, _why_not(state, nearest))


def _next_finalist(state: SearchState, waiting: list[Trial]) -> Trial:
    """The first of those whose stem is not lost: what some of a smaller model lose on new samples, all of it lose."""
    return next((trial for trial in waiting if not _is_lost(state, trial)), waiting[0])


def _is_lost(state: SearchState, trial: Trial) -> bool:
    """Whether several candidates of a smaller model were verified to lose too much."""
    stem = trial.recipe.float_part
    if state.stem_of(trial.recipe) is state.first_stem or trial.verification is not None:
        return False
    own = [t.verification for t in state.verified if t.recipe.float_part == stem]
    return sum(v is not None and v.drop.drop > state.limits.accuracy_drop for v in own) >= _ENOUGH_LOST


def _verify_original(state: SearchState, order: list[Trial]) -> None:
    """Where every smaller model has lost too much, quantization alone is what may still hold."""
    if state.interrupted:
        return
    for trial in _of_the_original(state, order):
        if any(_acceptable(state, t) for t in state.verified):
            return
        verify(state, trial)


def _of_the_original(state: SearchState, order: list[Trial]) -> list[Trial]:
    own = [trial for trial in order if state.stem_of(trial.recipe) is state.first_stem]
    return own[:_MOST_OF_THE_ORIGINAL]


def _conclude_by_table(state: SearchState, order: list[Trial]) -> Outcome:
    """The first finalist that keeps the accuracy limit; its measured speed is reported and decides nothing else."""
    assert state.budget is not None
    for trial in [*order[:_MOST_FINALISTS], *_of_the_original(state, order[_MOST_FINALISTS:])]:
        verify(state, trial)
        slower = state.latency_ms(trial) > state.baseline_ms
        if trial.verification is None or trial.verification.drop.drop > state.budget.accuracy_drop or slower:
            continue
        met = meets(state, trial)
        return Outcome(trial, met, state.stop_reason if met else _why_not(state, trial))
    return Outcome(None, not state.budget.has_target, _why_nothing(state))


def _surely_meets(state: SearchState, trial: Trial) -> bool:
    """Whether a verified trial keeps every limit also at the lower end of its speedup's interval."""
    assert state.budget is not None
    if trial.verification is None or not (meets(state, trial) and _acceptable(state, trial)):
        return False
    return state.budget.speedup is None or trial.verification.gain_low >= state.budget.speedup


def _worth_going_on(state: SearchState, rest: list[Trial]) -> bool:
    """Whether another finalist should be verified."""
    if not any(_acceptable(state, t) for t in state.verified):
        return True
    if state.out_of_reach:
        return False
    # The clock stops verification once there is something to emit; the rest is slower or loses more.
    in_time = state.settings.deterministic or state.stopwatch.left_s > 0
    return in_time and any(keeps_target(state, t) for t in rest)


def _acceptable(state: SearchState, trial: Trial) -> bool:
    """Within the accuracy limit and no slower than the model that came in, as verified."""
    result = trial.verification
    assert state.budget is not None
    if result is None or result.drop.drop > state.budget.accuracy_drop:
        return False
    return result.gain >= 1.0 or state.budget.counted_bytes(result) < 0.9 * _baseline_size(state)


def _baseline_size(state: SearchState) -> int:
    assert state.baseline is not None and state.budget is not None
    return state.budget.counted_bytes(state.baseline)


def _farness(state: SearchState, trial: Trial) -> float:
    """By which the best that misses the target is chosen: its size where only that was asked for, else its time."""
    assert trial.verification is not None and state.budget is not None
    if state.budget.speedup is None and state.budget.size_bytes is not None:
        return float(state.budget.counted_bytes(trial.verification))
    return 1.0 / trial.verification.gain


def _why_not(state: SearchState, best: Trial) -> str:
    assert state.budget is not None and best.verification is not None
    parts = []
    if state.budget.speedup is not None:
        parts.append(f"{state.budget.speedup:.3g}x faster")
    if state.budget.size_bytes is not None:
        what = "bytes" if state.budget.size_as == FILE else "bytes (compressed)"
        parts.append(f"at most {state.budget.size_bytes:.4g} {what}")
    result = best.verification
    quality = "that small" if state.budget.speedup is None else "that fast"
    unreachable = f"nothing that this runtime makes of the model is {quality}"
    why = unreachable if state.out_of_reach else state.stop_reason
    speed = f"{result.gain:.2f}x{'' if result.speedup is not None else ' (estimated, not verified)'}"
    size = "" if state.budget.size_bytes is None else f" at {state.budget.counted_bytes(result)} bytes"
    return (
        f"{' and '.join(parts)} within a drop of {state.budget.accuracy_drop:.3g} was not reached "
        f"({why}); the best that holds is {speed}{size} with a drop of {result.drop.drop:.3g}"
    )


def _why_nothing(state: SearchState) -> str:
    assert state.budget is not None
    return (
        f"no verified candidate is both within a drop of {state.budget.accuracy_drop:.3g} and at least as fast as the "
        f"original ({state.stop_reason}); the original model is emitted unchanged"
    )

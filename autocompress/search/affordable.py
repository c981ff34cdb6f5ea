"""How much a search can afford where the model is slow for the time given."""

from __future__ import annotations

from autocompress.search.space import NONE
from autocompress.search.state import SearchState

_SHARE = 0.1
_EARLY = ("baseline", "calibrate", "profile")
# Exploration ends when so much of the time is used; before reconstruction, of what measuring has left.
_UNTIL_VERIFICATION, _BEFORE_POLISH = 0.8, 0.5
# The original has the first part of what measuring left; more as long as nothing of it keeps the accuracy limit,
# because stems take their precisions from what does.
_BEFORE_STEMS, _BEFORE_STEMS_OF_NOTHING, _UNTIL_END_OF_STEMS = 0.3, 0.55, 0.75
_FEWEST_TRIALS = 2


def affordable_samples(state: SearchState, measurements: int, choices: tuple[int, ...]) -> int:
    """The most samples per measurement that fit into a tenth of the time; a fixed number where no clock may steer.

    Args:
        state: of the search.
        measurements: how many there will be at most.
        choices: numbers of samples to choose from, the largest first.
    """
    assert state.baseline is not None
    if state.settings.deterministic or state.settings.timeout_s is None:
        return choices[1]
    once_s = measurements * state.baseline.run_s
    return next((n for n in choices if n * once_s <= _SHARE * state.settings.timeout_s), choices[-1])


def early_share(state: SearchState) -> float:
    """The part of the time that measuring, calibrating and pricing took; 0 without a limit."""
    if state.settings.timeout_s is None:
        return 0.0
    spent_s = sum(state.stopwatch.seconds[stage] for stage in _EARLY)
    return min(spent_s / state.settings.timeout_s, 1.0)


def exploring_until(state: SearchState) -> float:
    """The share of the time after which exploration ends: earlier where stems or reconstruction are to follow."""
    space = state.settings.space
    if space.structural:
        if not stems_follow(state):
            return _UNTIL_END_OF_STEMS
        share = _BEFORE_STEMS if _keeps_accuracy(state) else _BEFORE_STEMS_OF_NOTHING
        return min(_of_what_is_left(state, share), _UNTIL_END_OF_STEMS)
    if all(name == NONE for name in space.reconstruction):
        return _UNTIL_VERIFICATION
    return min(_of_what_is_left(state, _BEFORE_POLISH), _UNTIL_VERIFICATION)


def _of_what_is_left(state: SearchState, share: float) -> float:
    """A share of the time that measuring left: of a slow model much is gone before anything can be searched."""
    early = early_share(state)
    return early + share * (1.0 - early)


def _keeps_accuracy(state: SearchState) -> bool:
    return any(trial.evaluated.drop.drop <= state.limits.accuracy_drop for trial in state.own_trials)


def stems_follow(state: SearchState) -> bool:
    """Whether smaller float models are still to be searched."""
    return state.settings.space.structural and len(state.stems) == 1


def affordable_trials(state: SearchState) -> int | None:
    """How many more candidates can be evaluated before exploration has to end, at least two; None where all can."""
    timeout_s = state.settings.timeout_s
    costs_s = [trial.evaluated.build_s + trial.evaluated.evaluate_s for trial in state.ledger.complete]
    if state.settings.deterministic or timeout_s is None or not costs_s:
        return None
    left_s = exploring_until(state) * timeout_s - state.stopwatch.elapsed_s
    return max(int(left_s * max(state.settings.workers, 1) / max(*costs_s, 1e-9)), _FEWEST_TRIALS)

"""The stage in which smaller float models are made, recovered, and quantized like the original."""

from __future__ import annotations

from dataclasses import replace

from autocompress.errors import CandidateFailed
from autocompress.passes.recover import RecoverConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search import explore
from autocompress.search.ranking import standard_error
from autocompress.search.state import SearchState
from autocompress.search.stem import StemState
from autocompress.search.stems import tasks
from autocompress.search.stems.opening import described, open_stem
from autocompress.search.stems.proposing import propose_stems
from autocompress.search.stems.rounds import search_round
from autocompress.search.stems.survey import survey

_UNTIL = 0.78  # of the time; the rest is for verification
_LEAST_TRAINING_S = 5.0
_LEAST_PART = 0.1  # of the expected time, below which training does not pay
_ROUND_SHARE = 0.05
_MOST_TRAINED = 2
# A drop of more than so many times the limit is not brought below it by training.
_REACH = 60.0


def search_stems(state: SearchState) -> None:
    """Makes stems where quantization alone does not do, and searches each; the best trial's stem is at hand then."""
    if not _wanted(state):
        return
    try:
        _search(state)
    finally:
        _settle(state)


def _wanted(state: SearchState) -> bool:
    if not state.settings.space.structural or state.interrupted or state.stem is not state.first_stem:
        return False
    if state.scorer is None or state.damage is None or not state.own_trials:
        return False
    return not (state.limits.has_target and state.first_met_s is not None)


def _search(state: SearchState) -> None:
    _reopen(state)
    opened = []
    for recipe in propose_stems(state, survey(state)):
        if not _has_time(state):
            break
        stem = open_stem(state, recipe)
        if stem is not None:
            search_round(state, stem)
            opened.append(stem)
        if state.interrupted:
            return
        if state.settings.recovery != "none" and stem is not None and _is_fast_enough(state, stem):
            break  # what is stronger loses more, and time is better spent on training
    if not opened:
        state.notice("no smaller form of the model's layers was found that this runtime executes faster")
        return
    trained = _train(state, opened)
    if not state.interrupted and _has_time(state):
        state.stem = _most_promising(state, [*opened, *trained])
        explore.explore(state)


def _reopen(state: SearchState) -> None:
    """Stems of a study that is resumed, from what they have learnt."""
    for trial in list(state.ledger.complete):
        part = trial.recipe.float_part
        if part.hash not in state.stems:
            open_stem(state, part)


def _train(state: SearchState, opened: list[StemState]) -> list[StemState]:
    """Distils the most promising stems, each in its share of the time left."""
    level = state.settings.recovery
    if level not in ("light", "full"):
        return []
    trained: list[StemState] = []
    chosen = _worth_training(state, opened)
    for position, stem in enumerate(chosen):
        recipe = replace(stem.recipe, recover=RecoverConfig(level=level, seed=state.settings.seed))
        if recipe.hash in state.stems:
            continue
        try:
            deadline_s = _training_s(state, recipe, len(chosen) - position)
        except CandidateFailed as error:
            state.notice(f"{described(recipe)} was left out: {error}")
            continue
        if deadline_s is not None and deadline_s < _LEAST_TRAINING_S:
            if not trained:
                state.notice("recovery was left out: too little time; give a longer --timeout")
            break
        made = open_stem(state, recipe, deadline_s)
        if made is not None:
            trained.append(made)
            search_round(state, made)
        if state.interrupted or (state.limits.has_target and _met(state, recipe)):
            break
    return trained


def _training_s(state: SearchState, recipe: Recipe, jobs: int) -> float | None:
    """Seconds for one training, after its expected time was said; None where no clock may steer.

    Raises:
        CandidateFailed: when the stem cannot be trained.
    """
    hurried = not state.settings.deterministic and state.settings.timeout_s is not None
    expected_s = state.executor.submit(tasks.expected_recovery_s, recipe, hurried).result()
    assert recipe.recover is not None
    text = f"recovery '{recipe.recover.level}' of a smaller model takes about {expected_s:.0f} s here"
    if not hurried or state.settings.timeout_s is None:
        state.notice(text)
        return None
    round_s = _ROUND_SHARE * state.settings.timeout_s
    left_s = _UNTIL * state.settings.timeout_s - state.stopwatch.elapsed_s - jobs * round_s
    # Two short trainings are worth less than one of full length.
    given_s = left_s / jobs if left_s / jobs >= expected_s else min(left_s, 1.2 * expected_s)
    given_s = min(given_s, state.settings.longest_task_s) if given_s >= _LEAST_PART * expected_s else 0.0
    if given_s > 0:
        state.notice(text if given_s >= expected_s else f"{text}; {given_s:.0f} s are left for it")
    return given_s


def _worth_training(state: SearchState, opened: list[StemState]) -> list[StemState]:
    """Stems that a smaller loss would make the best: those fast enough, of those the least damaged first."""
    limit = max(state.limits.accuracy_drop, 1e-9)
    known = {stem: best for stem in opened if (best := _best_of(state, stem)) is not None}
    target_ms = state.limits.latency_ms
    if target_ms is not None:
        # Those that are not fast enough come last, the fastest of them first.
        order = sorted(known, key=lambda stem: (max(known[stem][1] / target_ms, 1.0), known[stem][0]))
        return order[:_MOST_TRAINED]
    lossy = [stem for stem, (drop, _) in known.items() if limit < drop <= _REACH * limit]
    return sorted(lossy, key=lambda stem: known[stem][0])[:_MOST_TRAINED]


def _best_of(state: SearchState, stem: StemState) -> tuple[float, float] | None:
    """Drop and latency of a stem's candidate that counts: the least lossy that meets the target, else the fastest."""
    trials = [t for t in state.ledger.complete if state.stem_of(t.recipe) is stem]
    if not trials:
        return None
    target_ms = state.limits.latency_ms
    fast = [t for t in trials if target_ms is not None and state.latency_ms(t) <= target_ms]
    chosen = min(fast, key=lambda t: t.evaluated.drop.drop) if fast else min(trials, key=state.latency_ms)
    return chosen.evaluated.drop.drop, state.latency_ms(chosen)


def _is_fast_enough(state: SearchState, stem: StemState) -> bool:
    """Whether a candidate of a stem has the speed that was asked for."""
    own = [trial for trial in state.ledger.complete if state.stem_of(trial.recipe) is stem]
    return state.limits.has_target and any(explore.keeps_speed_and_size(state, trial) for trial in own)


def _most_promising(state: SearchState, stems: list[StemState]) -> StemState:
    """The stem of the best trial, if that is one of them; else the last that was made."""
    for trial in explore.ranked(state):
        stem = state.stem_of(trial.recipe)
        if stem is not None and stem in stems and stem.scorer is not None:
            return stem
    return stems[-1]


def _met(state: SearchState, recipe: Recipe) -> bool:
    """Whether a candidate of a stem keeps the limits by more than the noise of the search part."""
    for trial in state.ledger.complete:
        safe = trial.evaluated.drop.drop + standard_error(trial) <= state.limits.accuracy_drop
        if trial.recipe.float_part == recipe and safe and explore.keeps_target(state, trial):
            return True
    return False


def _has_time(state: SearchState) -> bool:
    if state.interrupted or not explore.trials_left(state):
        return False
    return state.settings.deterministic or not state.stopwatch.used(_UNTIL)


def _settle(state: SearchState) -> None:
    """Puts the stem of the best trial at hand; the target stays out of reach only if no stem reaches it."""
    first = state.first_stem
    reached = any(explore.keeps_speed_and_size(state, trial) for trial in state.ledger.complete)
    for stem in state.stems.values():
        stem.out_of_reach = not reached and first.out_of_reach
    if first.scorer is None:
        return
    best = next((state.stem_of(trial.recipe) for trial in explore.ranked(state)), None)
    state.stem = best if best is not None and best.scorer is not None else first

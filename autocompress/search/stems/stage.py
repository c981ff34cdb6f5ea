"""The stage in which smaller float models are made, recovered, and quantized like the original."""

from __future__ import annotations

from dataclasses import replace

from autocompress.errors import CandidateFailed
from autocompress.recipe.recipe import Recipe
from autocompress.search import explore
from autocompress.search.ranking import standard_error
from autocompress.search.reserve import searching_until
from autocompress.search.state import SearchState
from autocompress.search.stem import StemState
from autocompress.search.stems.in_turn import makes_smaller_layers, propose_in_turn
from autocompress.search.stems.opening import described, open_stem
from autocompress.search.stems.rounds import search_round
from autocompress.search.stems.spare_speed import is_too_fast
from autocompress.search.stems.training import plan_training, trained_forms
from autocompress.search.stems.usable import leave_out_unusable
from autocompress.search.trials import Trial
from autocompress.search.verify import meets, verify_early

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
    leave_out_unusable(state)
    opened: list[StemState] = []
    for recipe in propose_in_turn(state, opened):
        if not _has_time(state):
            break
        stem = open_stem(state, recipe)
        if stem is not None:
            search_round(state, stem)
            opened.append(stem)
            if not state.settings.deterministic:
                verify_early(state)
        if state.interrupted:
            return
        if _are_enough(state, opened):
            break  # what is stronger loses more, and time is better spent on training
    if not opened:
        if makes_smaller_layers(state):
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
    if state.settings.recovery not in ("light", "full"):
        return []
    if _any_met(state, [stem for stem in opened if not _has_smaller_layers(stem)]):
        return []  # a lower resolution does; where layers are smaller, training makes the loss smaller still
    trained: list[StemState] = []
    chosen = _worth_training(state, opened)
    for position, stem in enumerate(chosen):
        forms = trained_forms(state, stem.recipe)
        if any(form.hash in state.stems for form in forms):
            continue
        try:
            recipe, deadline_s = plan_training(state, forms, len(chosen) - position)
        except CandidateFailed as error:
            state.notice(f"{described(forms[0])} was left out: {error}")
            continue
        if deadline_s == 0.0:
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


def _worth_training(state: SearchState, opened: list[StemState]) -> list[StemState]:
    """Stems that a smaller loss would make the best: those fast enough, of those the least damaged first."""
    limit = max(state.limits.accuracy_drop, 1e-9)
    known = {stem: best for stem in opened if (best := _best_of(state, stem)) is not None}
    if state.limits.has_target:
        # Those that are not fast or small enough come last, the nearest of them first.
        return sorted(known, key=known.__getitem__)[:_MOST_TRAINED]
    lossy = [stem for stem, (_, drop) in known.items() if limit < drop <= _REACH * limit]
    return sorted(lossy, key=lambda stem: known[stem][1])[:_MOST_TRAINED]


def _best_of(state: SearchState, stem: StemState) -> tuple[float, float] | None:
    """Excess and drop of the candidate that counts: the least lossy that meets the target, else the nearest to it."""
    trials = [t for t in state.ledger.complete if state.stem_of(t.recipe) is stem]
    if not trials:
        return None
    if state.limits.has_target:
        return min((_excess(state, trial), trial.evaluated.drop.drop) for trial in trials)
    return 1.0, min(trials, key=state.latency_ms).evaluated.drop.drop


def _excess(state: SearchState, trial: Trial) -> float:
    """How many times slower or larger than asked for a candidate is; 1 where it is neither."""
    limits, excess = state.limits, 1.0
    if limits.latency_ms is not None:
        excess = max(excess, state.latency_ms(trial) / limits.latency_ms)
    if limits.size_bytes is not None:
        excess = max(excess, limits.counted_bytes(trial.evaluated) / limits.size_bytes)
    return excess


def _are_enough(state: SearchState, opened: list[StemState]) -> bool:
    """Whether the target is met, or a stem of smaller layers is fast enough and none that is milder could be."""
    if _any_met(state, opened):
        return True
    smaller = [stem for stem in opened if _has_smaller_layers(stem)]
    if state.settings.recovery == "none" or not any(_is_fast_enough(state, stem) for stem in smaller):
        return False
    return len(smaller) > 1 or not is_too_fast(state, smaller[0].recipe)


def _any_met(state: SearchState, opened: list[StemState]) -> bool:
    """Whether smaller layers need neither be stronger nor trained."""
    if not state.limits.has_target:
        return False
    return any(_met(state, stem.recipe) or _is_verified(state, stem) for stem in opened)


def _is_verified(state: SearchState, stem: StemState) -> bool:
    """Whether a candidate of a stem is verified to meet the target; no clock may say so in a deterministic run."""
    own = [trial for trial in state.verified if state.stem_of(trial.recipe) is stem]
    return not state.settings.deterministic and any(meets(state, trial) for trial in own)


def _has_smaller_layers(stem: StemState) -> bool:
    return replace(stem.recipe, downsample=None, recover=None) != Recipe()


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
    return state.settings.deterministic or not state.stopwatch.used(searching_until(state))


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

"""What groups of channels lose by width: a curve of local losses each, put to scale by one damage at the output."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from autocompress.errors import CandidateFailed
from autocompress.search.state import SearchState
from autocompress.search.stems import judging
from autocompress.search.stems.judging import Judged
from autocompress.search.stems.ladder import cost, damage_of_cost
from autocompress.search.stems.options import Option

_MOST_SAMPLES, _FEWEST_SAMPLES = 16, 4
_SHARE = 0.03  # of the time, for running models
_OVERRUN = 3.0
_SHOWN = 0.4  # of a group's units: as many gone show a damage that is neither noise nor ruin


def judge_widths(state: SearchState, places: Sequence[Sequence[Option]], criterion: str) -> list[Option]:
    """The options with their damages; those of groups that could not be judged are left out.

    Args:
        state: of the search.
        places: options of each group, none empty.
        criterion: by which units go.
    """
    state.progress.stage("measure what smaller layers lose", total=len(places))
    known = {options[0].place.name: options for options in places}
    begin, samples = time.monotonic(), damage_samples(state, len(places))
    found: list[Option] = []
    for names in state.executor.submit(judging.portions, list(known)).result():
        removals = {name: _shown(known[name]) for name in names}
        try:
            judged = state.executor.submit(judging.judge, removals, criterion, samples).result()
        except CandidateFailed as error:
            state.notice(f"some groups of channels were left alone: {error}")
            judged = {}
        for name, own in judged.items():
            found.extend(replace(o, damage=damage_at(own, removals[name], o.removed)) for o in known[name])
        state.progress.advance(len(names))
        if state.interrupted or _is_late(state, begin):
            break
    return found


def judge_branches(state: SearchState, options: Sequence[Option]) -> list[Option]:
    """Branches with their damages, those that save most first, as far as time goes.

    Args:
        state: of the search.
        options: one for each branch.
    """
    state.progress.stage("measure what residual branches are worth", total=len(options))
    begin = time.monotonic()
    samples = damage_samples(state, max(len(options), 1))
    order = sorted(options, key=lambda option: -option.saved_ms)
    at_once = max(state.settings.workers, 1)
    found: list[Option] = []
    for start in range(0, len(order), at_once):
        own = order[start : start + at_once]
        tasks = [state.executor.submit(judging.branch_damage, option.place.name, samples) for option in own]
        found += [replace(option, damage=task.result()) for option, task in zip(own, tasks, strict=True)]
        state.progress.advance(len(own))
        if state.interrupted or _is_late(state, begin):
            break
    return found


def damage_at(judged: Judged, shown: int, removed: int) -> float:
    """Damage at the output with some units gone: in proportion to what the readers lose.

    Args:
        judged: the group.
        shown: units that were gone when its damage was measured.
        removed: units that go.
    """
    reference = judged.losses[shown - 1]
    share = judged.losses[removed - 1] / reference if reference > 0 else removed / shown
    return float("inf") if judged.damage == float("inf") else damage_of_cost(cost(judged.damage) * share)


def _shown(options: Sequence[Option]) -> int:
    wanted = _SHOWN * options[0].place.full
    return min((option.removed for option in options), key=lambda removed: (abs(removed - wanted), removed))


def damage_samples(state: SearchState, groups: int) -> int:
    """Samples of the search part for each damage, fewer where the model is slow."""
    if state.settings.deterministic or state.settings.timeout_s is None or state.baseline is None:
        return _MOST_SAMPLES
    fitting = int(_SHARE * state.settings.timeout_s / max(groups * state.baseline.run_s, 1e-9))
    return min(max(fitting, _FEWEST_SAMPLES), _MOST_SAMPLES)


def _is_late(state: SearchState, begin: float) -> bool:
    if state.settings.deterministic or state.settings.timeout_s is None:
        return False
    return time.monotonic() - begin > _OVERRUN * _SHARE * state.settings.timeout_s

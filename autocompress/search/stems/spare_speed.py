"""Whether the first stem came out so much faster than asked that a milder one is worth making.

Prices are no measurements.  What a stem is too fast by was paid for in accuracy, and training brings back only a part.
"""

from __future__ import annotations

from autocompress.recipe.recipe import Recipe
from autocompress.search import explore
from autocompress.search.state import SearchState

_WORTHWHILE = 1.04
_AIM = 0.985  # of the time that is allowed: what is measured varies
_ROUND = 8  # evaluations' worth of time that a stem takes at least
_MOST_SHARE = 0.06  # of the whole time


def milder_share(state: SearchState, first: Recipe, share: float) -> float | None:
    """The share of the quantized original's time that leads to the target; None where it is not worth a stem.

    Args:
        state: of the search, which has evaluated candidates of the first stem.
        first: recipe of the first stem.
        share: that it was proposed for.
    """
    wanted = share * _spare(state, first) * _AIM
    return wanted if is_too_fast(state, first) and wanted < 1.0 else None


def is_too_fast(state: SearchState, first: Recipe) -> bool:
    """Whether a candidate of the first stem is faster than asked by more than noise, and there is time for another."""
    return _spare(state, first) >= _WORTHWHILE and _is_affordable(state)


def _spare(state: SearchState, stem: Recipe) -> float:
    """How many times faster than asked the fastest candidate of a stem is; 1 where none is fast enough."""
    limit_ms = state.limits.latency_ms
    own = [trial for trial in state.ledger.complete if trial.recipe.float_part == stem]
    kept = [trial for trial in own if explore.keeps_speed_and_size(state, trial)]
    return 1.0 if limit_ms is None or not kept else limit_ms / min(map(state.latency_ms, kept))


def _is_affordable(state: SearchState) -> bool:
    timeout_s = state.settings.timeout_s
    if state.settings.deterministic or timeout_s is None:
        return True
    one_s = max(trial.evaluated.build_s + trial.evaluated.evaluate_s for trial in state.ledger.complete)
    return _ROUND * one_s <= _MOST_SHARE * timeout_s

"""A round on one stem: its quantized candidates around the best scheme of the original."""

from __future__ import annotations

from autocompress.search import explore, seeding
from autocompress.search.proposals import Proposal
from autocompress.search.state import SearchState
from autocompress.search.stem import StemState
from autocompress.search.stems.opening import described, set_up
from autocompress.search.stems.reference import reference_proposals
from autocompress.search.trials import Trial

_RUNGS = 4
_REACH = 5.0  # of the limit: what loses more is not brought below it by precision


def search_round(state: SearchState, stem: StemState) -> list[Trial]:
    """Evaluates the stem quantized as the original was, the best scheme, the fastest assignment and a short ladder.

    Returns:
        What was evaluated.
    """
    set_up(state, stem)
    first = [*reference_proposals(state), *seeding.propose_whole_model(state)]
    distinct = {proposal.recipe.hash: proposal for proposal in first}
    done = explore.evaluate(state, list(distinct.values()), f"evaluate {described(stem.recipe)}")
    if state.interrupted or _needs_no_ladder(state, done):
        return done
    return done + explore.evaluate(state, _rungs(state))


def _needs_no_ladder(state: SearchState, done: list[Trial]) -> bool:
    """Whether precision is not what matters: all int8 loses nothing, far too much, or is not fast enough itself."""
    complete = [trial for trial in done if trial.evaluation is not None]
    target_ms = state.steering.latency_ms
    if not complete or (target_ms is not None and min(map(state.latency_ms, complete)) > target_ms):
        return True
    least = min(trial.evaluated.drop.drop for trial in complete)
    return not 0.0 < least <= _REACH * state.limits.accuracy_drop


def _rungs(state: SearchState) -> list[Proposal]:
    """Rungs from fast to slow, at most a few."""
    proposals = sorted(seeding.propose_ladder(state), key=lambda proposal: proposal.latency_ms)
    return proposals[:_RUNGS]

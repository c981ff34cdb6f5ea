"""The story of a search, from the measured baseline to the verified best."""

from __future__ import annotations

from autocompress.search import explore, schemes, seeding, stages
from autocompress.search.affordable import affordable_trials
from autocompress.search.polish import polish
from autocompress.search.state import SearchState
from autocompress.search.stems.sparse_speed import settle_sparsity
from autocompress.search.stems.stage import search_stems
from autocompress.search.verify import Outcome, conclude, verify_early

# Sensitivities are measured again under another equalization while no more than this of the time is used.
_RENEWAL_DEADLINE = 0.3


def run_search(state: SearchState) -> Outcome:
    """Searches until the target is met and nothing better can be expected, or a limit is reached.

    Raises:
        NothingToCompress: when the model has nothing that could be made cheaper.
        UserError: when the baseline itself cannot be measured.
    """
    try:
        stages.measure_baseline(state)
        stages.calibrate(state)
        stages.price(state)
        schemes.price_choices(state)
        schemes.equalize(state)
        schemes.screen(state)
        settle_sparsity(state)
        stages.set_up_whole_model(state)
        explore.evaluate(state, seeding.propose_whole_model(state), "evaluate first candidates")
        verify_early(state)
        if not state.interrupted and not explore.out_of_allowance(state):
            stages.sense(state)
            in_time = state.settings.deterministic or not state.stopwatch.used(_RENEWAL_DEADLINE)
            if schemes.refine(state) and in_time:
                stages.sense(state)
            explore.refit(state)
            if not explore.leaves_to_stems(state):
                seeds = seeding.propose_ladder(state)[: affordable_trials(state)]
                explore.evaluate(state, seeds, "evaluate seeds")
                verify_early(state)
                explore.explore(state)
        search_stems(state)
        verify_early(state)
        polish(state)
    except KeyboardInterrupt:
        if state.scorer is None or not state.ledger.complete:
            raise
        state.interrupted = True
    try:
        return _conclude(state)
    except KeyboardInterrupt:
        if state.interrupted:
            raise  # asked for a second time: at once
        state.interrupted, state.stop_reason = True, "stopped by the user"
        return _conclude(state)


def _conclude(state: SearchState) -> Outcome:
    if state.interrupted:
        state.progress.notice("stopping: the best so far is verified and written; Ctrl-C again stops at once")
    state.stop_reason = state.stop_reason or explore.out_of_allowance(state) or "stopped by the user"
    return conclude(state)

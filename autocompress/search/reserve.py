"""When searching has to end, so that there is time left to verify."""

from __future__ import annotations

from autocompress.search.state import SearchState

_EARLIEST, _LATEST = 0.78, 0.93
_FINALISTS = 3
_TIMING_S = 6.0  # of a finalist, with loading it
_SLACK = 0.02


def searching_until(state: SearchState) -> float:
    """The share of the time after which nothing new is begun: later where verification is known to be short."""
    timeout_s, baseline = state.settings.timeout_s, state.baseline
    costs = [trial.evaluated.evaluate_s for trial in state.ledger.complete]
    if timeout_s is None or baseline is None or not costs:
        return _EARLIEST
    if state.verified:
        one_s = state.stopwatch.seconds["verify"] / len(state.verified)
    else:
        one_s = max(costs) * baseline.verification.n / max(baseline.search.n, 1) + _TIMING_S
    return min(max(1.0 - _SLACK - _FINALISTS * one_s / timeout_s, _EARLIEST), _LATEST)

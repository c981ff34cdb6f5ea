"""The latency of a finalist that this machine does not time: by the user's command, or by the estimate alone."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from autocompress.search.explore import estimate_executed
from autocompress.search.results import VerificationResult
from autocompress.search.state import SearchState
from autocompress.search.trials import Trial


def known_latency(state: SearchState, trial: Trial, result: VerificationResult) -> VerificationResult:
    """The result with a speedup: as timed on this machine, by the command, or estimated.

    Raises:
        CandidateFailed: when the command fails.
    """
    if result.speedup is not None:
        return result
    estimate_executed(state, trial, result.ops)
    if state.command is None:
        return replace(result, estimated=trial.estimated_speedup)
    assert result.model_path is not None
    candidate = Path(result.model_path)
    try:
        measured = state.command.speedup(candidate, until=_deadline(state))
    finally:
        candidate.unlink(missing_ok=True)
    timed = replace(result, speedup=measured, model_path=None)
    _re_anchor(state, trial, timed)
    return timed


def _deadline(state: SearchState) -> float | None:
    """No clock steers a deterministic run; in others, time that is used up allows the fewest rounds only."""
    return None if state.settings.deterministic else time.monotonic() + state.stopwatch.left_s


def _re_anchor(state: SearchState, trial: Trial, result: VerificationResult) -> None:
    """Corrects the estimates that steer by what the command said of this finalist and those before it."""
    if state.settings.deterministic:
        return
    ratios = []
    for finalist, verification in [*((t, t.verification) for t in state.verified), (trial, result)]:
        if verification is not None and verification.speedup is not None and finalist.estimated_speedup is not None:
            ratios.append(finalist.estimated_speedup.speedup / verification.speedup.speedup)
    state.correction = float(np.exp(np.mean(np.log(ratios))))

"""What was measured of this model so far, as anchors for the estimates of its other candidates.

The baseline and every verified finalist that was timed count.  In a deterministic run nothing that a clock said may
steer or be written into an estimate, so there are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from autocompress.latency.anchoring import Anchor
from autocompress.measurement import EstimatedLatency
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search.prices import LatencyPrices
from autocompress.search.trials import Trial

if TYPE_CHECKING:
    from autocompress.search.state import SearchState

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# Deviations, in logs, of additive prices: common to a model's candidates, of one part, of one short timing.
_COMMON, _PART, _NOISE = 0.2, 0.06, 0.03
_FURTHEST = 0.2  # a timing further from the others than this was disturbed


def anchors_of(state: SearchState, *, without: Trial | None = None) -> list[Anchor]:
    """The anchors, the baseline first.

    Args:
        state: of the search.
        without: a finalist whose own measurement must not count, since its estimate is asked for.
    """
    measured = None if state.baseline is None else state.baseline.latency
    if state.settings.deterministic or measured is None or state.estimator is None or not state.baseline_ops:
        return []
    anchors = [Anchor(state.estimator.candidate(state.baseline_ops), measured.latency_ms)]
    for trial in state.verified:
        result = trial.verification
        if trial is without or result is None or result.speedup is None or not result.ops:
            continue
        # Both were timed in turn: the ratio is worth more than the candidate's own time.
        latency_ms = measured.latency_ms / result.speedup.speedup
        anchors.append(Anchor(state.estimator.candidate(result.ops), latency_ms))
    return anchors


def anchored_baseline(state: SearchState) -> EstimatedLatency | None:
    """The original's estimate on the same footing as those of finalists: corrected by every anchor but its own."""
    if state.estimator is None or not state.baseline_ops:
        return state.baseline_estimate
    candidate = state.estimator.candidate(state.baseline_ops)
    return state.estimator.anchoring.correct(candidate, anchors_of(state)[1:])


def anchored(state: SearchState, ops: Sequence[ExecutedOp], *, without: Trial | None = None) -> EstimatedLatency:
    """The estimate of a candidate, corrected by the anchors."""
    assert state.estimator is not None
    candidate = state.estimator.candidate(ops)
    return state.estimator.anchoring.correct(candidate, anchors_of(state, without=without))


def anchored_prices(
    prices: LatencyPrices, options: IntArray, measured_ms: FloatArray, added_us: FloatArray | float = 0.0
) -> LatencyPrices:
    """Additive prices, corrected by what candidates that were timed really took.

    log(measured / price) of a candidate is taken as a common term plus one for each part of the price (regions in each
    precision, conversions, the rest), weighted by the part's share; both are drawn towards zero, the terms of parts
    more strongly, so that a part that few candidates tell apart keeps the common factor (ridge regression).

    Args:
        prices: as they came from the probes.
        options: of the candidates, of shape (candidates, regions).
        measured_ms: of the candidates, of shape (candidates,).
        added_us: by the choices of each candidate that cost time, of shape (candidates,).
    """
    parts_us = prices.parts_us(options, added_us)
    total_us = parts_us.sum(axis=1)
    residuals = np.log(measured_ms * 1e3 / total_us)
    centre = float(np.median(residuals))
    residuals = centre + np.clip(residuals - centre, -_FURTHEST, _FURTHEST)
    shares = parts_us / total_us[:, None]
    covariance = _COMMON**2 + _PART**2 * (shares @ shares.T) + _NOISE**2 * np.eye(len(residuals))
    weights = np.linalg.solve(covariance, residuals)
    factors = np.exp(_PART**2 * (shares.T @ weights))
    return prices.with_factors(factors, float(np.exp(_COMMON**2 * weights.sum())))

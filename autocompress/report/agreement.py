"""How well what was predicted agrees with what was then measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autocompress.measurement import Interval
from autocompress.store.records import CandidateRecord


@dataclass(frozen=True)
class Pair:
    """One prediction and its outcome.

    Attributes:
        trial: number of the trial.
        predicted: before it was built.
        measured: after.
        interval: where the prediction expected the outcome.
    """

    trial: int
    predicted: float
    measured: float
    interval: Interval | None


@dataclass(frozen=True)
class Agreement:
    """Statistics over pairs.

    Attributes:
        n: number of pairs.
        mape: mean of |predicted - measured| / |measured|; None without pairs or with a zero among the measured.
        mae: mean of |predicted - measured|; None without pairs.
        rank_correlation: Spearman's rho; None below 3 pairs or when one side is constant.
        within_interval: how many outcomes their interval held.
        with_interval: how many predictions had an interval.
    """

    n: int
    mape: float | None
    mae: float | None
    rank_correlation: float | None
    within_interval: int
    with_interval: int


def latency_pairs(candidates: Sequence[CandidateRecord], *, verified: bool) -> list[Pair]:
    """Estimated and measured latency in ms, of the verification (``verified``) or of the search."""
    pairs = []
    for candidate in candidates:
        timed = candidate.verified_speedup if verified else candidate.search_speedup
        measured = timed.b if timed is not None else (None if verified else candidate.latency)
        if candidate.estimate is not None and measured is not None:
            estimate = candidate.estimate
            pairs.append(Pair(candidate.trial, estimate.latency_ms, measured.latency_ms, estimate.interval90_ms))
    return pairs


def drop_pairs(candidates: Sequence[CandidateRecord], *, verified: bool) -> list[Pair]:
    """Predicted and measured accuracy drop, on the verification part (``verified``) or on the search part."""
    pairs = []
    for candidate in candidates:
        measured = candidate.verified_drop if verified else candidate.search_drop
        if candidate.predicted_drop is not None and measured is not None:
            pairs.append(
                Pair(candidate.trial, candidate.predicted_drop, measured.drop, candidate.predicted_drop_interval)
            )
    return [pair for pair in pairs if math.isfinite(pair.predicted) and math.isfinite(pair.measured)]


def accuracy_pairs(pairs: Sequence[Pair], baseline_accuracy: float) -> list[Pair]:
    """Pairs of drops as pairs of accuracies: relative errors of a drop near zero mean nothing, those of accuracy do."""
    return [Pair(p.trial, baseline_accuracy - p.predicted, baseline_accuracy - p.measured, None) for p in pairs]


def agreement(pairs: Sequence[Pair]) -> Agreement:
    """Statistics over ``pairs``."""
    if not pairs:
        return Agreement(0, None, None, None, 0, 0)
    predicted, measured = np.array([(p.predicted, p.measured) for p in pairs], dtype=np.float64).T
    errors = np.abs(predicted - measured)
    limits = [(p.interval, p.measured) for p in pairs if p.interval is not None]
    return Agreement(
        n=len(pairs),
        mape=float((errors / np.abs(measured)).mean()) if np.all(measured != 0) else None,
        mae=float(errors.mean()),
        rank_correlation=_spearman(predicted, measured),
        within_interval=sum(interval.low <= value <= interval.high for interval, value in limits),
        with_interval=len(limits),
    )


def _spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)

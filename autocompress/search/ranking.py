"""Which evaluated trial to believe in.

The drop measured on a few hundred samples is noisy, and the best of many noisy numbers flatters itself.  Measurement
and prediction are therefore combined by their precisions (the posterior mean of two independent normal estimates),

    expected = (drop / se^2 + predicted / sd^2) / (1 / se^2 + 1 / sd^2),

before trials are ranked; what is finally reported is measured anew on the verification part.
"""

from __future__ import annotations

from collections.abc import Sequence

from autocompress.search.budget import Budget
from autocompress.search.trials import Trial

_Z95 = 1.96
# A short timing is good to about this; who is faster than the target by less may miss it when verified.
_TIMING_MARGIN = 0.015


def expected_drop(measured: float, standard_error: float, predicted: float, deviation: float) -> float:
    """Posterior mean of the drop."""
    weight = 1.0 / max(standard_error, 1e-9) ** 2
    prior = 1.0 / max(deviation, 1e-9) ** 2
    return (measured * weight + predicted * prior) / (weight + prior)


def standard_error(trial: Trial) -> float:
    """Standard error of a trial's measured drop, from its 95 % interval."""
    interval = trial.evaluated.drop.ci95
    return max((interval.high - interval.low) / (2 * _Z95), 1e-9)


def rank(
    trials: Sequence[Trial], expected: Sequence[float], latency_ms: Sequence[float], budget: Budget
) -> list[Trial]:
    """Evaluated trials, best first; those that keep no limit at all are still listed, last.

    With a target: first those that meet it safely, then those that just meet it, each by expected drop; then the others
    within the accuracy limit, fastest first (smallest first, where only a size is asked for).  Without a target: those
    within the accuracy limit, fastest first.

    Args:
        trials: complete trials.
        expected: expected drop of each.
        latency_ms: latency of each, on the scale of the baseline's.
        budget: limits of the study.
    """

    def key(position: int) -> tuple[float, ...]:
        trial, drop, latency = trials[position], expected[position], latency_ms[position]
        within = drop <= budget.accuracy_drop and not trial.evaluated.stopped_early
        fast = budget.latency_ms is None or latency <= budget.latency_ms
        small = budget.size_bytes is None or budget.counted_bytes(trial.evaluated) <= budget.size_bytes
        if not within:
            return (2.0, drop, latency, position)
        if budget.has_target and fast and small:
            safe = budget.latency_ms is None or latency <= budget.latency_ms * (1 - _TIMING_MARGIN)
            return (0.0 if safe else 0.5, drop, latency, position)
        if budget.latency_ms is None and budget.size_bytes is not None:
            return (1.0, budget.counted_bytes(trial.evaluated), drop, position)
        return (1.0, latency, drop, position)

    return [trials[i] for i in sorted(range(len(trials)), key=key)]

"""Intervals for a mean of paired differences, sound for few samples, rare flips and skewed differences.

Binary scores: Tango's score interval for a difference of paired proportions (Tango 1998, Statistics in Medicine 17,
891-908).  It does not shrink to a point when no sample flips: at n = 240 without a flip it is +-1.6 points.

Other scores: the hull of Student's t interval and the bootstrap-t interval (Efron 1982; Hall 1988, Annals of Statistics
16, 927-953).  Differences are often skewed (a few samples carry the loss), where t alone covers far less than it says;
bootstrap-t follows the skewness, t steadies it for few samples.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from autocompress.measurement import Interval

FloatArray = npt.NDArray[np.float64]

RESAMPLES = 1999
"""Makes (RESAMPLES + 1) * 0.025 a whole number."""

_LARGEST_RESAMPLED = 2000  # beyond this many samples t and bootstrap-t agree
_BISECTIONS = 60
_SPARSE_SHARE, _SPARSE_COUNT = 0.5, 12


def tango_interval(lost: int, won: int, n: int, confidence: float = 0.95) -> Interval:
    """Interval for P(lost) - P(won) from n paired binary outcomes.

    Args:
        lost: samples right in the first and wrong in the second.
        won: samples wrong in the first and right in the second.
        n: all samples.
        confidence: two-sided.
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    observed = (lost - won) / n

    def crossing(low: float, high: float, level: float) -> float:
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if _tango_score(lost, won, n, middle) > level:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    return Interval(crossing(-1.0, observed, z), crossing(observed, 1.0, -z))


def _tango_score(lost: int, won: int, n: int, difference: float) -> float:
    """Score statistic of the hypothesis P(lost) - P(won) = difference; falls as the difference grows."""
    a, c = 2.0 * n, -won * difference * (1.0 - difference)
    b = -lost - won + (2 * n - lost + won) * difference
    p_won = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # maximum likelihood under the hypothesis
    variance = n * (2 * p_won + difference * (1.0 - difference))
    distance = lost - won - n * difference
    if variance <= 0.0:
        return 0.0 if distance == 0.0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def mean_interval(values: FloatArray, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Interval for the mean of independent values, at least two of them: the hull of t and bootstrap-t."""
    n = len(values)
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n)
    if error <= 1e-15 * abs(mean) or error == 0.0:
        return Interval(mean, mean)
    t = student_quantile(0.5 + confidence / 2, n - 1)
    low, high = -t, t
    if n <= _LARGEST_RESAMPLED:
        ratios = _bootstrap_t_ratios(values, mean, np.random.default_rng([seed, n]))
        quantiles = np.quantile(ratios, [0.5 - confidence / 2, 0.5 + confidence / 2], method="inverted_cdf")
        low, high = min(low, float(quantiles[0])), max(high, float(quantiles[1]))
    return Interval(mean - high * error, mean - low * error)


def _bootstrap_t_ratios(values: FloatArray, mean: float, generator: np.random.Generator) -> FloatArray:
    """(mean* - mean) / error* over resamples; those without spread, which have no ratio, are left out."""
    n = len(values)
    ratios = []
    for count in _chunks(RESAMPLES, max(1, 2_000_000 // n)):
        resampled = values[generator.integers(0, n, (count, n))]
        errors = resampled.std(axis=1, ddof=1) / math.sqrt(n)
        spread = errors > 1e-12 * np.abs(values).max()
        ratios.append((resampled.mean(axis=1)[spread] - mean) / errors[spread])
    return np.concatenate(ratios)


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]


def is_sparse(differences: FloatArray) -> bool:
    """Whether most differences are exactly zero and so few are not that their spread cannot be told from them."""
    changed = np.count_nonzero(differences)
    return bool(changed < _SPARSE_COUNT and changed < (1 - _SPARSE_SHARE) * len(differences))


def hull(a: Interval, b: Interval) -> Interval:
    """The smallest interval that holds both."""
    return Interval(min(a.low, b.low), max(a.high, b.high))


def student_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))

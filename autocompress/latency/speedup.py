"""Estimates beside each other: the speedup that two stand for, and one on the scale of what was measured."""

from __future__ import annotations

import math
from dataclasses import replace

from autocompress.measurement import EstimatedLatency, EstimatedSpeedup, Interval

_LEAST = 1e-3  # of an estimate: an interval that reaches down to zero would make the speedup's endless


def estimated_speedup(baseline: EstimatedLatency, candidate: EstimatedLatency) -> EstimatedSpeedup:
    """Estimated baseline over estimated candidate.

    The relative errors of both join in quadrature, as if they were independent.  They are not (the same forests price
    both), so that the interval is rather too wide than too narrow.
    """
    speedup = baseline.latency_ms / candidate.latency_ms
    a, b = baseline, candidate
    down = math.hypot(_log(a.latency_ms, _low(a)), _log(b.interval90_ms.high, b.latency_ms))
    up = math.hypot(_log(a.interval90_ms.high, a.latency_ms), _log(b.latency_ms, _low(b)))
    return EstimatedSpeedup(speedup, Interval(speedup * math.exp(-down), speedup * math.exp(up)))


def scaled(estimate: EstimatedLatency, factor: float) -> EstimatedLatency:
    """An estimate in the milliseconds of another clock: both its value and its interval times a factor."""
    interval = Interval(estimate.interval90_ms.low * factor, estimate.interval90_ms.high * factor)
    return replace(estimate, latency_ms=estimate.latency_ms * factor, interval90_ms=interval)


def _low(estimate: EstimatedLatency) -> float:
    return max(estimate.interval90_ms.low, _LEAST * estimate.latency_ms)


def _log(larger: float, smaller: float) -> float:
    return math.log(max(larger / smaller, 1.0))

"""Measured and estimated quantities: different types, so that they can never be mixed up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A closed interval [low, high]."""

    low: float
    high: float

    def to_list(self) -> list[float]:
        """[low, high], for JSON."""
        return [self.low, self.high]


@dataclass(frozen=True)
class MeasuredLatency:
    """Latency of one model, observed.

    Attributes:
        latency_ms: median over repeats.
        minimum_ms: fastest repeat.
        spread_ms: median absolute deviation.
        repeats: how many timed runs.
        clock: "cpu" (thread CPU time), "wall", "replay" (written down), or "command" (a command of the user timed it).
    """

    latency_ms: float
    minimum_ms: float
    spread_ms: float
    repeats: int
    clock: str


@dataclass(frozen=True)
class MeasuredSpeedup:
    """Two models timed in turn, in one process and one run, or by a command called in turns.

    Attributes:
        a: the reference (baseline).
        b: the candidate.
        speedup: middle over rounds of a's time / b's time (median; geometric mean where a command timed); above 1 means
            b is faster.
        speedup_ci95: interval of that middle.
        rounds: how many interleaved rounds.
    """

    a: MeasuredLatency
    b: MeasuredLatency
    speedup: float
    speedup_ci95: Interval
    rounds: int


@dataclass(frozen=True)
class EstimatedLatency:
    """Latency of one model, predicted, never observed.

    Attributes:
        latency_ms: the prediction.
        interval90_ms: where the truth is expected 9 times in 10.
        coverage: share of the predicted time that came from exact table hits, in [0, 1].
        nodes: how many executed operators were priced (all of them, always).
    """

    latency_ms: float
    interval90_ms: Interval
    coverage: float
    nodes: int


@dataclass(frozen=True)
class EstimatedSpeedup:
    """Two models estimated for the same device, never observed.

    Attributes:
        speedup: estimated latency of the baseline / that of the candidate.
        interval90: where the truth is expected 9 times in 10.
    """

    speedup: float
    interval90: Interval


@dataclass(frozen=True)
class MeasuredAccuracy:
    """A metric on n samples, observed.

    Attributes:
        metric: name of the metric.
        value: in the metric's own unit (fractions for fraction metrics).
        n: number of samples.
    """

    metric: str
    value: float
    n: int


@dataclass(frozen=True)
class MeasuredDrop:
    """Loss of accuracy of a candidate against the baseline on the same samples (positive: worse).

    Attributes:
        drop: baseline minus candidate (sign turned for metrics where lower is better).
        ci95: interval of the paired difference.
        n: number of paired samples.
        method: how the interval was found ("paired-t", "paired-bootstrap", "jackknife", "mcnemar", ...).
    """

    drop: float
    ci95: Interval
    n: int
    method: str

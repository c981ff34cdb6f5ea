"""Timing loaded models: one alone, or two in turn.

Times are taken by each session's own clock: CPU time of the calling thread for one thread, which other processes
disturb least, wall time for more.  First runs are dropped, short models run several times per sample, and two models
are compared round by round, so that a drift of the machine's speed hits both alike.

Other work on the machine slows kernels down for seconds on end, through the core's second thread and the shared cache,
also by the CPU clock.  It only ever adds, so the slower half of the samples (of rounds: by both models' times together,
which favours neither) is left out, and under the wall clock every sample in which the scheduler interfered.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from autocompress.measurement import Interval, MeasuredLatency, MeasuredSpeedup
from autocompress.runtimes.protocol import Feeds, Session

FloatArray = npt.NDArray[np.float64]

_WARM_UP_RUNS = 3
_WARM_UP_SHARE = 0.1
_SAMPLE_S = 0.5e-3  # a sample lasts at least this long, so that reading the clock does not count
_ROUND_SAMPLE_S = 2e-3  # samples that are compared last longer, so that one interrupt weighs less
_RESAMPLES = 1000
_MAXIMUM_ROUNDS = 5000
_FEWEST_KEPT = 5
_PLACEMENT = 0.008  # two loads of one model differ by up to this much (95 %), from where their memory lies


@dataclass
class Samples:
    """Timed samples of one session.

    Attributes:
        runs: runs per sample.
        seconds: seconds per run, one entry per sample.
        disturbed: whether the scheduler took the processor away during the sample.
    """

    runs: int
    seconds: list[float] = field(default_factory=list)
    disturbed: list[bool] = field(default_factory=list)

    def take(self, session: Session, feeds: Feeds) -> float:
        """Adds one sample and returns it."""
        before = _involuntary_switches()
        seconds = session.time_runs(feeds, self.runs)
        self.seconds.append(seconds)
        self.disturbed.append(_involuntary_switches() > before)
        return seconds

    def relative(self) -> FloatArray:
        """Each sample over the fastest one, of shape (samples,)."""
        seconds = np.asarray(self.seconds, dtype=np.float64)
        return np.asarray(seconds / max(float(seconds.min()), 1e-12))


def quiet_half(slowdown: FloatArray, disturbed: Sequence[bool], clock: str) -> npt.NDArray[np.intp]:
    """Which samples to judge by, in the order they were taken.

    Args:
        slowdown: of shape (samples,); the larger, the more was going on besides.
        disturbed: whether the scheduler interfered; counts under the wall clock while enough other samples are left.
        clock: the sessions' clock; nothing disturbs "replay".
    """
    candidates = np.arange(len(slowdown))
    if clock == "replay":
        return candidates
    quiet = ~np.asarray(disturbed, dtype=bool)
    if clock == "wall" and quiet.sum() >= max(_FEWEST_KEPT, len(slowdown) / 4):
        candidates = candidates[quiet]
    keep = max(_FEWEST_KEPT, -(-len(candidates) // 2))
    order = np.argsort(slowdown[candidates], kind="stable")[:keep]
    return np.sort(candidates[order])


def warm_up(session: Session, feeds: Feeds, budget_s: float, *, sample_s: float = _SAMPLE_S) -> Samples:
    """Runs a session until it is warm and settles how many runs make one sample."""
    end = time.perf_counter() + budget_s * _WARM_UP_SHARE
    fastest = session.time_runs(feeds)
    for _ in range(_WARM_UP_RUNS - 1):
        if time.perf_counter() >= end:
            break
        fastest = min(fastest, session.time_runs(feeds))
    return Samples(runs=max(1, round(sample_s / max(fastest, 1e-7))) if fastest < sample_s else 1)


def time_session(session: Session, feeds: Feeds, *, budget_s: float = 2.0, min_repeats: int = 10) -> MeasuredLatency:
    """Times one model.

    Args:
        session: the loaded model.
        feeds: one array per input.
        budget_s: wall seconds to spend, warm-up included; exceeded only to reach ``min_repeats``.
        min_repeats: samples to take at least.

    Raises:
        RuntimeFailure: when the runtime fails.
    """
    end = time.perf_counter() + budget_s
    samples = warm_up(session, feeds, budget_s)
    while len(samples.seconds) < min_repeats or time.perf_counter() < end:
        samples.take(session, feeds)
        if session.clock == "replay" and len(samples.seconds) >= min_repeats:
            break
    return summarize(samples, quiet_half(samples.relative(), samples.disturbed, session.clock), session.clock)


def measure_interleaved(
    a: Session, b: Session, feeds: Feeds, *, budget_s: float = 5.0, min_rounds: int = 20, seed: int = 0
) -> MeasuredSpeedup:
    """Times two models in turn; in each round both run, in random order.

    The speedup is the median over rounds of a's time by b's; its interval is a block bootstrap of that median (blocks
    of the length of the square root of the number of rounds, since neighbouring rounds share the machine's mood;
    Künsch, "The Jackknife and the Bootstrap for General Stationary Observations", 1989), widened by what two loads of
    one and the same model differ by.

    Args:
        a: the reference.
        b: the candidate; takes the same feeds.
        feeds: one array per input.
        budget_s: wall seconds to spend; exceeded only to reach ``min_rounds``.
        min_rounds: rounds to run at least.
        seed: of the order within rounds and of the bootstrap.

    Raises:
        RuntimeFailure: when the runtime fails.
    """
    rng = np.random.default_rng(seed)
    end = time.perf_counter() + budget_s
    of_a = warm_up(a, feeds, budget_s, sample_s=_ROUND_SAMPLE_S)
    of_b = warm_up(b, feeds, budget_s, sample_s=_ROUND_SAMPLE_S)
    while len(of_a.seconds) < min_rounds or time.perf_counter() < end:
        turns = [(of_a, a), (of_b, b)]
        for samples, session in turns if rng.random() < 0.5 else reversed(turns):
            samples.take(session, feeds)
        if len(of_a.seconds) >= (min_rounds if a.clock == "replay" else _MAXIMUM_ROUNDS):
            break
    disturbed = [x or y for x, y in zip(of_a.disturbed, of_b.disturbed, strict=True)]
    kept = quiet_half(of_a.relative() + of_b.relative(), disturbed, a.clock)
    ratios = np.asarray(of_a.seconds)[kept] / np.maximum(np.asarray(of_b.seconds)[kept], 1e-12)
    speedup = float(np.median(ratios))
    interval = median_interval(ratios, rng)
    return MeasuredSpeedup(
        a=summarize(of_a, kept, a.clock),
        b=summarize(of_b, kept, b.clock),
        speedup=speedup,
        speedup_ci95=interval if a.clock == "replay" else _widened(interval, speedup),
        rounds=len(kept),
    )


def summarize(samples: Samples, kept: npt.NDArray[np.intp], clock: str) -> MeasuredLatency:
    """Median, minimum and median absolute deviation of the kept samples, in milliseconds."""
    milliseconds = np.asarray(samples.seconds)[kept] * 1e3
    median = float(np.median(milliseconds))
    return MeasuredLatency(
        latency_ms=median,
        minimum_ms=float(milliseconds.min()),
        spread_ms=float(np.median(np.abs(milliseconds - median))),
        repeats=len(milliseconds) * samples.runs,
        clock=clock,
    )


def median_interval(values: FloatArray, rng: np.random.Generator) -> Interval:
    """95 % interval of the median of a series, by a circular block bootstrap.

    Args:
        values: of shape (n,), in the order they were observed.
        rng: source of the resamples.
    """
    n = len(values)
    block = max(1, int(np.sqrt(n)))
    blocks = -(-n // block)
    medians = np.empty(_RESAMPLES)
    for i in range(_RESAMPLES):
        starts = rng.integers(0, n, blocks)
        picked = (starts[:, None] + np.arange(block)).ravel()[:n] % n
        medians[i] = np.median(values[picked])
    low, high = np.quantile(medians, [0.025, 0.975])
    return Interval(float(low), float(high))


def _widened(interval: Interval, speedup: float) -> Interval:
    """Adds the difference between two loads, in quadrature."""
    placement = _PLACEMENT * speedup
    return Interval(
        speedup - float(np.hypot(speedup - interval.low, placement)),
        speedup + float(np.hypot(interval.high - speedup, placement)),
    )


def _involuntary_switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw

"""The points of the Pareto picture, one list per kind: what is measured never shares a list with what is estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autocompress.measurement import EstimatedSpeedup, Interval, MeasuredDrop
from autocompress.search.pareto import front
from autocompress.store.records import CandidateRecord, StudyRecord

_LEAST_MS = 1e-6  # an interval may reach down to no time at all


@dataclass(frozen=True)
class Point:
    """One candidate in the plane of speedup and accuracy drop.

    Attributes:
        candidate: whose point it is.
        speedup: baseline latency / candidate latency.
        drop: accuracy drop, in the metric's own unit.
        latency_ms: candidate latency.
        drop_interval: interval of the drop, where there is one.
        speedup_interval: interval of the speedup, where there is one: 95 % where measured, 90 % where estimated.
        estimated: whether speedup and latency are estimated.
    """

    candidate: CandidateRecord
    speedup: float
    drop: float
    latency_ms: float
    drop_interval: Interval | None = None
    speedup_interval: Interval | None = None
    estimated: bool = False


@dataclass(frozen=True)
class Points:
    """All points of a study.

    Attributes:
        searched: drop and latency both measured, on the search part.
        priced: drop measured on the search part, latency only estimated.
        predicted: drop and latency both predicted; nothing was built, or nothing came of it.
        verified: drop and latency both measured, on the verification part.
        unverified: drop measured on the verification part, latency estimated and not verified.
        front: the non-dominated points of ``searched`` (of ``priced`` when nothing was timed), slowest first.
        front_is_measured: whether ``front`` comes from ``searched``.
    """

    searched: tuple[Point, ...]
    priced: tuple[Point, ...]
    predicted: tuple[Point, ...]
    verified: tuple[Point, ...]
    unverified: tuple[Point, ...]
    front: tuple[Point, ...]
    front_is_measured: bool


def study_points(record: StudyRecord, summary: Mapping[str, Any]) -> Points:
    """Sorts a study's candidates into the lists of ``Points``."""
    baseline_ms = _baseline_ms(record, summary)
    searched, priced, predicted, verified, unverified = [], [], [], [], []
    for candidate in record.candidates:
        if (point := _verified(candidate)) is not None:
            verified.append(point)
        elif candidate.verified_drop and (point := _estimated(candidate, baseline_ms, candidate.verified_drop)):
            unverified.append(point)
        if (point := _searched(candidate, baseline_ms)) is not None:
            searched.append(point)
        elif candidate.search_drop and (point := _estimated(candidate, baseline_ms, candidate.search_drop)):
            priced.append(point)
        elif (point := _estimated(candidate, baseline_ms, None)) is not None:
            predicted.append(point)
    measured = bool(searched)
    return Points(
        searched=tuple(searched),
        priced=tuple(priced),
        predicted=tuple(predicted),
        verified=tuple(verified),
        unverified=tuple(unverified),
        front=_front(searched if measured else priced),
        front_is_measured=measured,
    )


def _baseline_ms(record: StudyRecord, summary: Mapping[str, Any]) -> float | None:
    """What estimates are compared with: the baseline as measured, or as estimated where nobody timed it."""
    known = {**(summary.get("baseline") or {}), **(record.header.baseline or {})}
    return known.get("latency_ms") or known.get("latency_estimate_ms")


def _front(points: Sequence[Point]) -> tuple[Point, ...]:
    chosen = front([(point.drop, -point.speedup) for point in points])
    return tuple(sorted((points[i] for i in chosen), key=lambda point: point.speedup))


def _verified(candidate: CandidateRecord) -> Point | None:
    drop, timed = candidate.verified_drop, candidate.verified_speedup
    if drop is None or timed is None:
        return None
    return Point(candidate, timed.speedup, drop.drop, timed.b.latency_ms, drop.ci95, timed.speedup_ci95)


def _searched(candidate: CandidateRecord, baseline_ms: float | None) -> Point | None:
    drop, timed, latency = candidate.search_drop, candidate.search_speedup, candidate.latency
    if drop is None:
        return None
    if timed is not None:
        return Point(candidate, timed.speedup, drop.drop, timed.b.latency_ms, drop.ci95, timed.speedup_ci95)
    if latency is not None and baseline_ms and latency.latency_ms > 0:
        return Point(candidate, baseline_ms / latency.latency_ms, drop.drop, latency.latency_ms, drop.ci95)
    return None


def _estimated(candidate: CandidateRecord, baseline_ms: float | None, drop: MeasuredDrop | None) -> Point | None:
    """A point whose latency is estimated; its drop is measured, or predicted for None."""
    estimate, speedup = candidate.estimate, _estimated_speedup(candidate, baseline_ms)
    if estimate is None or speedup is None:
        return None
    if drop is not None:
        return _priced(candidate, speedup, drop.drop, estimate.latency_ms, drop.ci95)
    if candidate.predicted_drop is None:
        return None
    expected = candidate.predicted_drop_interval
    return _priced(candidate, speedup, candidate.predicted_drop, estimate.latency_ms, expected)


def _priced(
    candidate: CandidateRecord, speedup: EstimatedSpeedup, drop: float, latency_ms: float, interval: Interval | None
) -> Point:
    return Point(candidate, speedup.speedup, drop, latency_ms, interval, speedup.interval90, estimated=True)


def _estimated_speedup(candidate: CandidateRecord, baseline_ms: float | None) -> EstimatedSpeedup | None:
    """As recorded, or of the estimate against the baseline's latency."""
    estimate = candidate.estimate
    if candidate.estimated_speedup is not None or estimate is None or not baseline_ms or estimate.latency_ms <= 0:
        return candidate.estimated_speedup
    low_ms = max(estimate.interval90_ms.low, _LEAST_MS)
    interval = Interval(baseline_ms / estimate.interval90_ms.high, baseline_ms / low_ms)
    return EstimatedSpeedup(baseline_ms / estimate.latency_ms, interval)

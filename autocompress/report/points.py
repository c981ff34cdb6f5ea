"""The points of the Pareto picture, one list per kind: what is measured never shares a list with what is estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autocompress.measurement import Interval
from autocompress.search.pareto import front
from autocompress.store.records import CandidateRecord, StudyRecord


@dataclass(frozen=True)
class Point:
    """One candidate in the plane of speedup and accuracy drop.

    Attributes:
        candidate: whose point it is.
        speedup: baseline latency / candidate latency.
        drop: accuracy drop, in the metric's own unit.
        latency_ms: candidate latency.
        drop_interval: interval of the drop, where there is one.
        speedup_interval: interval of the speedup, where there is one.
    """

    candidate: CandidateRecord
    speedup: float
    drop: float
    latency_ms: float
    drop_interval: Interval | None = None
    speedup_interval: Interval | None = None


@dataclass(frozen=True)
class Points:
    """All points of a study.

    Attributes:
        searched: drop and latency both measured, on the search part.
        priced: drop measured on the search part, latency only estimated.
        predicted: drop and latency both predicted; nothing was built, or nothing came of it.
        verified: drop and latency both measured, on the verification part.
        front: the non-dominated points of ``searched`` (of ``priced`` when nothing was timed), slowest first.
        front_is_measured: whether ``front`` comes from ``searched``.
    """

    searched: tuple[Point, ...]
    priced: tuple[Point, ...]
    predicted: tuple[Point, ...]
    verified: tuple[Point, ...]
    front: tuple[Point, ...]
    front_is_measured: bool


def study_points(record: StudyRecord, summary: Mapping[str, Any]) -> Points:
    """Sorts a study's candidates into the lists of ``Points``."""
    baseline_ms = (record.header.baseline or {}).get("latency_ms") or (summary.get("baseline") or {}).get("latency_ms")
    searched, priced, predicted, verified = [], [], [], []
    for candidate in record.candidates:
        if (point := _verified(candidate)) is not None:
            verified.append(point)
        if (point := _searched(candidate, baseline_ms)) is not None:
            searched.append(point)
        elif (point := _estimated(candidate, baseline_ms, measured_drop=True)) is not None:
            priced.append(point)
        elif (point := _estimated(candidate, baseline_ms, measured_drop=False)) is not None:
            predicted.append(point)
    measured = bool(searched)
    return Points(
        searched=tuple(searched),
        priced=tuple(priced),
        predicted=tuple(predicted),
        verified=tuple(verified),
        front=_front(searched if measured else priced),
        front_is_measured=measured,
    )


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


def _estimated(candidate: CandidateRecord, baseline_ms: float | None, *, measured_drop: bool) -> Point | None:
    estimate = candidate.estimate
    if estimate is None or not baseline_ms or estimate.latency_ms <= 0:
        return None
    interval = Interval(baseline_ms / estimate.interval90_ms.high, baseline_ms / estimate.interval90_ms.low)
    speedup = baseline_ms / estimate.latency_ms
    if measured_drop:
        found = candidate.search_drop
        return Point(candidate, speedup, found.drop, estimate.latency_ms, found.ci95, interval) if found else None
    if candidate.predicted_drop is None:
        return None
    expected = candidate.predicted_drop_interval
    return Point(candidate, speedup, candidate.predicted_drop, estimate.latency_ms, expected, interval)

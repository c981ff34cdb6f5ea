"""The part of the plane that the Pareto picture shows first, and the limits drawn into it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from autocompress.report.points import Point, Points
from autocompress.report.wording import bounds

_BUDGETS_SHOWN = 4
_MARGIN = 0.06


def target_speedup(summary: Mapping[str, Any]) -> float | None:
    """The speedup that the strictest latency target stands for; None without one."""
    factors = [summary["target_speedup"]] if summary.get("target_speedup") is not None else []
    baseline = summary.get("baseline") or {}
    baseline_ms = baseline.get("latency_ms") or baseline.get("latency_estimate_ms")
    if summary.get("target_latency_ms") and baseline_ms:
        factors.append(baseline_ms / summary["target_latency_ms"])
    return max(factors) if factors else None


def speedup_window(points: Points, summary: Mapping[str, Any]) -> tuple[float, float]:
    """Lowest and highest speedup shown: baseline, target and every point that was built."""
    target = target_speedup(summary)
    shown = [1.0, 1.2, *([target] if target else []), *(p.speedup for p in _built(points))]
    return padded(min(shown), max(shown))


def drop_window(points: Points, summary: Mapping[str, Any]) -> tuple[float, float]:
    """Lowest and highest drop shown, in the metric's own unit.

    It reaches to a few budgets, to the median candidate and to all that was verified: a candidate that lost everything
    must not flatten those that matter.
    """
    drops = [p.drop for p in _built(points) if math.isfinite(p.drop)]
    finalists = (*points.verified, *points.unverified)
    verified = [end for p in finalists for end in (p.drop, *bounds(p.drop_interval)) if end is not None]
    limit = abs(summary.get("max_accuracy_drop") or 0.0)
    reach = max([_BUDGETS_SHOWN * limit, *verified, *([median(drops)] if drops else [])])
    highest = min(reach, max([limit, *drops, *verified]))
    return padded(min([0.0, *drops, *verified]), highest)


def out_of_window(points: Points, window: tuple[float, float]) -> int:
    """How many candidates with a measured drop lie outside the window."""
    return sum(not window[0] <= p.drop <= window[1] for p in (*points.searched, *points.priced))


def padded(low: float, high: float) -> tuple[float, float]:
    """A range with room at both ends."""
    margin = _MARGIN * (high - low) or _MARGIN * abs(high) or 1.0
    return low - margin, high + margin


def _built(points: Points) -> Sequence[Point]:
    return (*points.searched, *points.priced, *points.verified, *points.unverified)

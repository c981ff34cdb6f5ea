"""How fast the best is, and how that is known: measured, measured by a command, or estimated and not verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autocompress.report.wording import milliseconds, milliseconds_interval, plural, times, times_interval
from autocompress.store.records import BY_COMMAND, MEASURED, NOT_VERIFIED

Summary = Mapping[str, Any]


@dataclass(frozen=True)
class BestSpeed:
    """The speed of an emitted candidate.

    Attributes:
        status: how it is known (see ``CandidateRecord.latency_status``).
        speedup: baseline latency / latency.
        interval: of the speedup; 95 % where measured, 90 % where estimated.
        latency_ms: of the candidate.
        latency_interval: of that, 90 %, where estimated.
        baseline_ms: latency of the baseline, known in the same way.
    """

    status: str
    speedup: float | None
    interval: Sequence[float | None] | None
    latency_ms: float | None
    latency_interval: Sequence[float | None] | None
    baseline_ms: float | None

    @property
    def measured(self) -> bool:
        """Whether anybody timed it."""
        return self.status != NOT_VERIFIED

    @property
    def level(self) -> str:
        """Which interval it is."""
        return "95 %" if self.measured else "90 %"


def best_speed(summary: Summary) -> BestSpeed:
    """The speed of the best of a summary."""
    best, baseline = summary.get("best") or {}, summary.get("baseline") or {}
    if best.get("speedup") is not None and best.get("latency_status") != NOT_VERIFIED:
        status = best.get("latency_status") or MEASURED
        interval, latency_ms = best.get("speedup_ci95"), best.get("latency_ms")
        return BestSpeed(status, best["speedup"], interval, latency_ms, None, baseline.get("latency_ms"))
    return BestSpeed(
        NOT_VERIFIED,
        best.get("speedup_estimate"),
        best.get("speedup_estimate_interval90"),
        best.get("latency_estimate_ms"),
        best.get("latency_estimate_interval90_ms"),
        baseline.get("latency_estimate_ms"),
    )


def speed_words(summary: Summary) -> str:
    """The speed in a few words: "2.05x faster, measured"."""
    found = best_speed(summary)
    if found.speedup is None:
        return f"{milliseconds(found.latency_ms)}, {found.status}"
    return f"{times(found.speedup)} {'faster' if found.speedup >= 1 else 'the speed'}, {found.status}"


def speed_sentence(summary: Summary) -> str:
    """The speed with its intervals and how it is known."""
    found = best_speed(summary)
    if found.measured:
        return _measured_sentence(summary, found)
    latency, interval = milliseconds(found.latency_ms), milliseconds_interval(found.latency_interval)
    if found.speedup is None:
        return f"Its latency was estimated ({latency}) but not measured."
    return (
        f"Estimated, not verified: it takes {latency} (90 % interval {interval}) instead of "
        f"{milliseconds(found.baseline_ms)}: {times(found.speedup)} (90 % interval {times_interval(found.interval)}), "
        f"for {summary.get('device')}, {_conditions(summary)}; nobody timed it there."
    )


def _measured_sentence(summary: Summary, found: BestSpeed) -> str:
    best = summary["best"]
    rounds = f" over {plural(best['rounds'], 'round')}" if best.get("rounds") else ""
    how = "by the verify command, " if found.status == BY_COMMAND else ""
    return (
        f"It takes {milliseconds(found.latency_ms)} instead of {milliseconds(found.baseline_ms)}: "
        f"{times(found.speedup)} (95 % interval {times_interval(found.interval)}), timed {how}in turns with the "
        f"original{rounds}, {_conditions(summary)}."
    )


def _conditions(summary: Summary) -> str:
    return f"{plural(summary.get('threads') or 1, 'thread')}, batch size {summary.get('batch_size') or 1}"

"""Baseline against best, row by row: shared by the page, the Markdown and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autocompress.report.verdict import summary_scale
from autocompress.report.wording import (
    MISSING,
    count,
    milliseconds,
    milliseconds_interval,
    percent,
    plural,
    size,
    times,
    times_interval,
)
from autocompress.store.records import BY_COMMAND, MEASURED, NOT_VERIFIED


@dataclass(frozen=True)
class ComparisonRow:
    """One property of both models.

    Attributes:
        label: what is compared.
        baseline: of the uncompressed model.
        best: of the emitted model.
        change: from one to the other.
        interval: of the change (95 %) or of the estimate (90 %).
    """

    label: str
    baseline: str
    best: str
    change: str = ""
    interval: str = ""


def compare(summary: Mapping[str, Any]) -> list[ComparisonRow]:
    """Rows for accuracy, latency measured, latency estimated and sizes; cells without a value show a dash."""
    baseline, best = summary.get("baseline") or {}, summary.get("best") or {}
    scale = summary_scale(summary)
    n = best.get("n") or baseline.get("n")
    estimated = (baseline.get("latency_estimate_ms"), best.get("latency_estimate_ms"))
    status = best.get("latency_status")
    return [
        ComparisonRow(
            label=str(summary.get("metric", "accuracy")) + (f" ({plural(n, 'sample')})" if n else ""),
            baseline=scale.value(baseline.get("accuracy")),
            best=scale.value(best.get("accuracy")),
            change=_if(best.get("accuracy_drop"), lambda drop: f"drop {scale.drop(drop)}"),
            interval=scale.interval(best.get("accuracy_drop_ci95")),
        ),
        ComparisonRow(
            label=f"latency, {status if status == BY_COMMAND else MEASURED}",
            baseline=milliseconds(baseline.get("latency_ms")),
            best=milliseconds(best.get("latency_ms")),
            change=_if(best.get("speedup"), lambda speedup: f"{times(speedup)} speedup"),
            interval=times_interval(best.get("speedup_ci95")),
        ),
        ComparisonRow(
            label=f"latency, {NOT_VERIFIED if status == NOT_VERIFIED else 'estimated'}",
            baseline=milliseconds(estimated[0]),
            best=milliseconds(estimated[1]),
            change=_if(_estimated_speedup(best, estimated), lambda speedup: f"{times(speedup)} speedup"),
            interval=_if(best.get("latency_estimate_interval90_ms"), lambda i: f"{milliseconds_interval(i)} (90 %)"),
        ),
        ComparisonRow(
            label="size on disk",
            baseline=size(baseline.get("size_bytes")),
            best=size(best.get("size_bytes")),
            change=_smaller(baseline.get("size_bytes"), best.get("size_bytes")),
        ),
        *_compressed(baseline, best),
        *_work(summary.get("structure")),
    ]


def _work(structure: Mapping[str, Any] | None) -> list[ComparisonRow]:
    """Multiply-adds and parameters, where layers themselves were changed."""
    if not structure:
        return []
    rows = []
    for label, key in (("multiply-adds", "macs"), ("parameters", "parameters")):
        before, after = structure["before"][key], structure["after"][key]
        if before is not None and after is not None:
            rows.append(ComparisonRow(label, count(before), count(after), _fewer(before, after)))
    return rows


def _fewer(before: int, after: int) -> str:
    return f"{percent(1.0 - after / before)} fewer" if before else MISSING


def _compressed(baseline: Mapping[str, Any], best: Mapping[str, Any]) -> list[ComparisonRow]:
    """The size for transfer, where both were really compressed."""
    before, after = baseline.get("deflate_bytes"), best.get("deflate_bytes")
    if before is None or after is None:
        return []
    return [ComparisonRow("size compressed (deflate)", size(before), size(after), _smaller(before, after))]


def _estimated_speedup(best: Mapping[str, Any], estimated: tuple[float | None, float | None]) -> float | None:
    if best.get("speedup_estimate") is not None:
        return float(best["speedup_estimate"])
    return estimated[0] / estimated[1] if estimated[0] and estimated[1] else None


def _smaller(before: float | None, after: float | None) -> str:
    return f"{times(before / after)} smaller" if before and after else MISSING


def _if(value: Any, text: Any) -> str:
    return MISSING if value is None else str(text(value))

"""``trials.csv``: one row per trial, the same columns always."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from autocompress.store.plain import to_json
from autocompress.store.records import CandidateRecord

COLUMNS = (
    "trial",
    "state",
    "origin",
    "recipe_hash",
    "predicted_drop",
    "predicted_drop_low",
    "predicted_drop_high",
    "latency_estimate_ms",
    "latency_estimate_low_ms",
    "latency_estimate_high_ms",
    "estimate_coverage",
    "estimated_speedup",
    "estimated_speedup_interval90_low",
    "estimated_speedup_interval90_high",
    "search_drop",
    "search_drop_ci95_low",
    "search_drop_ci95_high",
    "search_n",
    "search_latency_ms",
    "search_speedup",
    "damage",
    "size_bytes",
    "deflate_bytes",
    "build_s",
    "evaluate_s",
    "verified_drop",
    "verified_drop_ci95_low",
    "verified_drop_ci95_high",
    "verified_n",
    "verified_latency_ms",
    "verified_baseline_latency_ms",
    "verified_speedup",
    "verified_speedup_ci95_low",
    "verified_speedup_ci95_high",
    "latency_status",
    "artifact",
    "cause",
    "recipe",
)


def trials_csv(candidates: Sequence[CandidateRecord]) -> str:
    """The trials as CSV; drops are in the metric's own unit, a value that was never taken is an empty field."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for candidate in candidates:
        row = _row(candidate)
        writer.writerow([_field(row[column]) for column in COLUMNS])
    return file.getvalue()


def _row(c: CandidateRecord) -> dict[str, Any]:
    estimate, expected, priced = c.estimate, c.predicted_drop_interval, c.estimated_speedup
    timed, verified = c.search_speedup, c.verified_speedup
    latency = timed.b if timed else c.latency
    return {
        "trial": c.trial,
        "state": c.state,
        "origin": c.origin,
        "recipe_hash": c.recipe_hash,
        "predicted_drop": c.predicted_drop,
        "predicted_drop_low": expected.low if expected else None,
        "predicted_drop_high": expected.high if expected else None,
        "latency_estimate_ms": estimate.latency_ms if estimate else None,
        "latency_estimate_low_ms": estimate.interval90_ms.low if estimate else None,
        "latency_estimate_high_ms": estimate.interval90_ms.high if estimate else None,
        "estimate_coverage": estimate.coverage if estimate else None,
        "estimated_speedup": priced.speedup if priced else None,
        "estimated_speedup_interval90_low": priced.interval90.low if priced else None,
        "estimated_speedup_interval90_high": priced.interval90.high if priced else None,
        "search_drop": c.search_drop.drop if c.search_drop else None,
        "search_drop_ci95_low": c.search_drop.ci95.low if c.search_drop else None,
        "search_drop_ci95_high": c.search_drop.ci95.high if c.search_drop else None,
        "search_n": c.search_drop.n if c.search_drop else None,
        "search_latency_ms": latency.latency_ms if latency else None,
        "search_speedup": timed.speedup if timed else None,
        "damage": c.damage,
        "size_bytes": c.size_bytes,
        "deflate_bytes": c.deflate_bytes,
        "build_s": c.build_s,
        "evaluate_s": c.evaluate_s,
        "verified_drop": c.verified_drop.drop if c.verified_drop else None,
        "verified_drop_ci95_low": c.verified_drop.ci95.low if c.verified_drop else None,
        "verified_drop_ci95_high": c.verified_drop.ci95.high if c.verified_drop else None,
        "verified_n": c.verified_drop.n if c.verified_drop else None,
        "verified_latency_ms": verified.b.latency_ms if verified else None,
        "verified_baseline_latency_ms": verified.a.latency_ms if verified else None,
        "verified_speedup": verified.speedup if verified else None,
        "verified_speedup_ci95_low": verified.speedup_ci95.low if verified else None,
        "verified_speedup_ci95_high": verified.speedup_ci95.high if verified else None,
        "latency_status": c.latency_status,
        "artifact": c.artifact,
        "cause": c.cause,
        "recipe": json.dumps(json.loads(to_json(c.recipe)), separators=(",", ":"), ensure_ascii=False),
    }


def _field(value: Any) -> str:
    if value is None or value != value:
        return ""
    return repr(value) if isinstance(value, float) else str(value)

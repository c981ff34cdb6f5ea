"""Records to table rows and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from autocompress.measurement import (
    EstimatedLatency,
    EstimatedSpeedup,
    Interval,
    MeasuredDrop,
    MeasuredLatency,
    MeasuredSpeedup,
)
from autocompress.store.records import (
    CandidateRecord,
    EventRecord,
    LayerRecord,
    NewStudy,
    OperatorRecord,
    StudyHeader,
)

Row = Mapping[str, Any]

_STUDY_FIELDS = tuple(NewStudy.__dataclass_fields__)
_OPERATOR_FIELDS = tuple(OperatorRecord.__dataclass_fields__)
_LAYER_FIELDS = tuple(LayerRecord.__dataclass_fields__)
_EVENT_FIELDS = tuple(EventRecord.__dataclass_fields__)
_CANDIDATE_SCALARS = (
    "trial",
    "recipe_hash",
    "origin",
    "state",
    "cause",
    "predicted_drop",
    "damage",
    "size_bytes",
    "deflate_bytes",
    "build_s",
    "evaluate_s",
    "artifact",
)


def study_row(study: NewStudy) -> dict[str, Any]:
    """Columns of a new study."""
    return {name: getattr(study, name) for name in _STUDY_FIELDS}


def study_header(row: Row, trials: int) -> StudyHeader:
    """Inverse of ``study_row``, with what was written since."""
    return StudyHeader(
        study=NewStudy(**{name: row[name] for name in _STUDY_FIELDS}),
        created=row["created"],
        updated=row["updated"],
        status=row["status"],
        stop_reason=row["stop_reason"],
        baseline=row["baseline"],
        summary=row["summary"],
        trials=trials,
    )


def operator_row(record: OperatorRecord) -> dict[str, Any]:
    """Columns of one executed operator."""
    return {name: getattr(record, name) for name in _OPERATOR_FIELDS}


def operator_record(row: Row) -> OperatorRecord:
    """Inverse of ``operator_row``."""
    return OperatorRecord(**{name: row[name] for name in _OPERATOR_FIELDS})


def layer_row(record: LayerRecord) -> dict[str, Any]:
    """Columns of one sensitivity row."""
    return {
        **{name: getattr(record, name) for name in _LAYER_FIELDS},
        "damage": _number(record.damage),
        "estimated_ms": _number(record.estimated_ms),
    }


def layer_record(row: Row) -> LayerRecord:
    """Inverse of ``layer_row``."""
    return LayerRecord(**{name: row[name] for name in _LAYER_FIELDS})


def event_row(record: EventRecord) -> dict[str, Any]:
    """Columns of one event."""
    return {name: getattr(record, name) for name in _EVENT_FIELDS}


def event_record(row: Row) -> EventRecord:
    """Inverse of ``event_row``."""
    return EventRecord(**{name: row[name] for name in _EVENT_FIELDS})


def candidate_row(record: CandidateRecord) -> dict[str, Any]:
    """Columns of one candidate; parts that were never measured are null."""
    interval, estimate = record.predicted_drop_interval, record.estimate
    row: dict[str, Any] = {name: getattr(record, name) for name in _CANDIDATE_SCALARS}
    row["recipe"] = list(record.recipe)
    row["latency_status"] = record.latency_status
    row["predicted_drop_low"] = interval.low if interval else None
    row["predicted_drop_high"] = interval.high if interval else None
    row["estimate_ms"] = estimate.latency_ms if estimate else None
    row["estimate_low_ms"] = estimate.interval90_ms.low if estimate else None
    row["estimate_high_ms"] = estimate.interval90_ms.high if estimate else None
    row["estimate_coverage"] = estimate.coverage if estimate else None
    row["estimate_nodes"] = estimate.nodes if estimate else None
    row |= _estimated_columns(record.estimated_speedup)
    row |= _drop_columns("search", record.search_drop)
    row |= _speedup_columns("search", record.search_speedup)
    row |= _latency_columns("latency", record.latency)
    row |= _drop_columns("verified", record.verified_drop)
    row |= _speedup_columns("verified", record.verified_speedup)
    return {name: _number(value) for name, value in row.items()}


def candidate_record(row: Row) -> CandidateRecord:
    """Inverse of ``candidate_row``."""
    return CandidateRecord(
        **{name: row[name] for name in _CANDIDATE_SCALARS},
        recipe=row["recipe"],
        predicted_drop_interval=_predicted_interval(row),
        estimate=_estimate(row),
        estimated_speedup=_estimated_speedup(row),
        search_drop=_drop(row, "search"),
        search_speedup=_speedup(row, "search"),
        latency=_latency(row, "latency"),
        verified_drop=_drop(row, "verified"),
        verified_speedup=_speedup(row, "verified"),
    )


def _number(value: Any) -> Any:
    """NaN as null: databases disagree about it."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _real(value: float | None) -> float:
    """Inverse of ``_number`` where a measured quantity must hold a number."""
    return math.nan if value is None else value


def _interval(row: Row, low: str, high: str) -> Interval:
    return Interval(_real(row[low]), _real(row[high]))


def _drop_columns(prefix: str, drop: MeasuredDrop | None) -> dict[str, Any]:
    return {
        f"{prefix}_drop": drop.drop if drop else None,
        f"{prefix}_drop_low": drop.ci95.low if drop else None,
        f"{prefix}_drop_high": drop.ci95.high if drop else None,
        f"{prefix}_n": drop.n if drop else None,
        f"{prefix}_method": drop.method if drop else None,
    }


def _drop(row: Row, prefix: str) -> MeasuredDrop | None:
    if row[f"{prefix}_drop"] is None:
        return None
    interval = _interval(row, f"{prefix}_drop_low", f"{prefix}_drop_high")
    return MeasuredDrop(row[f"{prefix}_drop"], interval, row[f"{prefix}_n"], row[f"{prefix}_method"])


def _latency_columns(prefix: str, latency: MeasuredLatency | None) -> dict[str, Any]:
    return {
        f"{prefix}_ms": latency.latency_ms if latency else None,
        f"{prefix}_minimum_ms": latency.minimum_ms if latency else None,
        f"{prefix}_spread_ms": latency.spread_ms if latency else None,
        f"{prefix}_repeats": latency.repeats if latency else None,
        f"{prefix}_clock": latency.clock if latency else None,
    }


def _latency(row: Row, prefix: str) -> MeasuredLatency | None:
    if row[f"{prefix}_ms"] is None:
        return None
    return MeasuredLatency(
        latency_ms=row[f"{prefix}_ms"],
        minimum_ms=_real(row[f"{prefix}_minimum_ms"]),
        spread_ms=_real(row[f"{prefix}_spread_ms"]),
        repeats=row[f"{prefix}_repeats"],
        clock=row[f"{prefix}_clock"],
    )


def _estimate(row: Row) -> EstimatedLatency | None:
    if row["estimate_ms"] is None:
        return None
    interval = _interval(row, "estimate_low_ms", "estimate_high_ms")
    return EstimatedLatency(row["estimate_ms"], interval, _real(row["estimate_coverage"]), row["estimate_nodes"])


def _estimated_columns(speedup: EstimatedSpeedup | None) -> dict[str, Any]:
    return {
        "estimated_speedup": speedup.speedup if speedup else None,
        "estimated_speedup_low": speedup.interval90.low if speedup else None,
        "estimated_speedup_high": speedup.interval90.high if speedup else None,
    }


def _estimated_speedup(row: Row) -> EstimatedSpeedup | None:
    if row["estimated_speedup"] is None:
        return None
    return EstimatedSpeedup(row["estimated_speedup"], _interval(row, "estimated_speedup_low", "estimated_speedup_high"))


def _speedup_columns(prefix: str, speedup: MeasuredSpeedup | None) -> dict[str, Any]:
    return {
        f"{prefix}_speedup": speedup.speedup if speedup else None,
        f"{prefix}_speedup_low": speedup.speedup_ci95.low if speedup else None,
        f"{prefix}_speedup_high": speedup.speedup_ci95.high if speedup else None,
        f"{prefix}_rounds": speedup.rounds if speedup else None,
        **_latency_columns(f"{prefix}_baseline", speedup.a if speedup else None),
        **_latency_columns(f"{prefix}_latency", speedup.b if speedup else None),
    }


def _speedup(row: Row, prefix: str) -> MeasuredSpeedup | None:
    a, b = _latency(row, f"{prefix}_baseline"), _latency(row, f"{prefix}_latency")
    if row[f"{prefix}_speedup"] is None or a is None or b is None:
        return None
    interval = _interval(row, f"{prefix}_speedup_low", f"{prefix}_speedup_high")
    return MeasuredSpeedup(a, b, row[f"{prefix}_speedup"], interval, row[f"{prefix}_rounds"])


def _predicted_interval(row: Row) -> Interval | None:
    if row["predicted_drop_low"] is None and row["predicted_drop_high"] is None:
        return None
    return _interval(row, "predicted_drop_low", "predicted_drop_high")

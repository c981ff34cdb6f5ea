"""The document that ``summary.json`` holds: built from a study's records, and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autocompress.config.quantities import parse_latency_ms
from autocompress.errors import AutocompressError
from autocompress.report.wording import Unit, metric_unit
from autocompress.store.plain import json_ready
from autocompress.store.records import MEASURED, NOT_VERIFIED, CandidateRecord, StudyRecord

STAGES = ("total", "baseline", "calibrate", "profile", "search", "verify")

# What readers of summary.json may count on, by part.
_KEYS: dict[str, tuple[str, ...]] = {
    "": (
        "study",
        "runtime",
        "device",
        "threads",
        "metric",
        "target_speedup",
        "target_met",
        "target_met_by_estimate",
        "baseline",
        "best",
        "trials",
        "seconds",
        "estimator",
        "seed",
        "versions",
    ),
    "baseline": ("accuracy", "n", "latency_ms", "size_bytes"),
    "best": (
        "accuracy",
        "accuracy_drop",
        "accuracy_drop_ci95",
        "n",
        "latency_ms",
        "latency_estimate_ms",
        "latency_status",
        "speedup",
        "speedup_ci95",
        "size_bytes",
        "model",
        "recipe",
    ),
    "trials": ("total", "complete", "pruned", "failed", "built"),
    "seconds": STAGES,
    "estimator": ("coverage", "mape_verified"),
}


_AS_IT_WAS = ("accuracy", "n", "latency_ms", "latency_estimate_ms", "size_bytes", "deflate_bytes")


def build_summary(
    record: StudyRecord,
    *,
    best: int | None = None,
    model: str | None = None,
    recipe: str | None = None,
    target_met: bool = False,
    target_met_by_estimate: bool = False,
    seconds: Mapping[str, float] | None = None,
    unit: Unit | None = None,
    higher_is_better: bool = True,
    split: Mapping[str, int] | None = None,
    notices: Sequence[str] = (),
    command: str | None = None,
) -> dict[str, Any]:
    """The summary of a study, JSON-ready.

    The record's baseline holds at least ``accuracy`` and ``n`` (on the verification part), ``latency_ms`` and
    ``size_bytes``, and may hold ``latency_estimate_ms``.  The accuracy of the best follows from it and the paired drop.

    Args:
        record: the study as the database holds it.
        best: number of the emitted trial; None when the original model was emitted, or nothing yet.
        model: name of the emitted file; None when nothing was emitted (``best`` is then null in the summary).
        recipe: name of the recipe's file.
        target_met: whether the best was verified to keep every limit.
        target_met_by_estimate: whether it keeps them all as far as its estimated latency goes, which nobody timed.
        seconds: wall time per stage (see ``STAGES``); a stage that did not run counts 0.
        unit: of the metric; by default as the built-in metric of that name has.
        higher_is_better: direction of the metric.
        split: samples per part ("calibration", "search", "verification").
        notices: sentences a person should read.
        command: what to type to get this again.

    Raises:
        ValueError: when ``best`` is no trial of the record.
    """
    study, config = record.header.study, record.header.study.config
    trial = _trial(record, best)
    document: dict[str, Any] = json_ready(
        {
            "study": study.name,
            "status": record.header.status,
            "stop_reason": record.header.stop_reason,
            "model": study.model_path,
            "runtime": study.runtime,
            "runtime_version": study.runtime_version,
            "device": study.device,
            "threads": study.threads,
            "batch_size": study.batch_size,
            "metric": study.metric,
            "metric_unit": metric_unit(study.metric) if unit is None else unit,
            "higher_is_better": higher_is_better,
            "target_speedup": config.get("target_speedup"),
            "target_latency_ms": _target_latency_ms(config),
            "target_size": config.get("target_size"),
            "size_as": config.get("size_as") or "file",
            "max_accuracy_drop": config.get("max_accuracy_drop"),
            "target_met": target_met,
            "target_met_by_estimate": target_met_by_estimate,
            "baseline": _baseline(record, trial),
            "best": None if model is None else _best(record, trial, model, recipe, higher_is_better),
            "finalists": [_finalist(c) for c in record.candidates if c.verified_drop is not None],
            "trials": _counts(record.candidates),
            "seconds": {stage: float((seconds or {}).get(stage, 0.0)) for stage in STAGES},
            "estimator": {"coverage": _coverage(record, trial), "mape_verified": mape_verified(record.candidates)},
            "split": split,
            "seed": config.get("seed"),
            "versions": study.versions,
            "notices": list(notices),
            "command": command,
        }
    )
    return document


def validate_summary(summary: Mapping[str, Any]) -> None:
    """Makes sure that a summary has every key that its readers may count on.

    Raises:
        AutocompressError: naming the keys that it lacks.
    """
    missing = []
    for part, keys in _KEYS.items():
        document = summary if part == "" else summary.get(part)
        if part == "best" and document is None:
            continue  # nothing was emitted
        found = document if isinstance(document, Mapping) else {}
        missing += [f"{part}.{key}".lstrip(".") for key in keys if key not in found]
    if missing:
        raise AutocompressError(f"the summary lacks {', '.join(missing)}; this is a fault of autocompress")


def mape_verified(candidates: Sequence[CandidateRecord]) -> float | None:
    """Mean absolute relative error of the estimated latency over verified candidates; None when there are none."""
    errors = [
        abs(c.estimate.latency_ms / c.verified_speedup.b.latency_ms - 1.0)
        for c in candidates
        if c.estimate is not None and c.verified_speedup is not None and c.verified_speedup.b.latency_ms > 0
    ]
    return math.fsum(errors) / len(errors) if errors else None


def _target_latency_ms(config: Mapping[str, Any]) -> float | None:
    """The latency target as a number; a run's options keep it as text with its unit."""
    given = config.get("target_latency_ms", config.get("target_latency"))
    return parse_latency_ms(given) if isinstance(given, str) else given


def _trial(record: StudyRecord, number: int | None) -> CandidateRecord | None:
    if number is None:
        return None
    for candidate in record.candidates:
        if candidate.trial == number:
            return candidate
    raise ValueError(f"study {record.header.name!r} has no trial {number}")


def _baseline(record: StudyRecord, trial: CandidateRecord | None) -> dict[str, Any]:
    """The Baseline; its latency from the same interleaved timing as the best's, so that the two can be compared."""
    given = record.header.baseline or {}
    timed = trial.verified_speedup if trial else None
    return {
        **given,
        "accuracy": given.get("accuracy"),
        "n": given.get("n"),
        "latency_ms": timed.a.latency_ms if timed else given.get("latency_ms"),
        "latency_estimate_ms": given.get("latency_estimate_ms"),
        "latency_estimate_interval90_ms": given.get("latency_estimate_interval90_ms"),
        "size_bytes": given.get("size_bytes", record.header.study.model_size_bytes),
        "deflate_bytes": given.get("deflate_bytes"),
    }


def _best(
    record: StudyRecord, trial: CandidateRecord | None, model: str, recipe: str | None, higher_is_better: bool
) -> dict[str, Any]:
    baseline = _baseline(record, trial)
    if trial is None:
        return {
            **{key: baseline[key] for key in _AS_IT_WAS},
            "trial": None,
            "accuracy_drop": 0.0,
            "accuracy_drop_ci95": [0.0, 0.0],
            "speedup": 1.0,
            "speedup_ci95": [1.0, 1.0],
            "latency_status": MEASURED if baseline["latency_ms"] is not None else NOT_VERIFIED,
            "model": model,
            "recipe": recipe,
        }
    drop, timed, estimate = trial.verified_drop, trial.verified_speedup, trial.estimate
    estimated = trial.estimated_speedup
    return {
        "trial": trial.trial,
        "accuracy": _accuracy(baseline["accuracy"], drop.drop if drop else None, higher_is_better),
        "accuracy_drop": drop.drop if drop else None,
        "accuracy_drop_ci95": drop.ci95.to_list() if drop else None,
        "n": drop.n if drop else None,
        "latency_ms": timed.b.latency_ms if timed else None,
        "latency_estimate_ms": estimate.latency_ms if estimate else None,
        "latency_estimate_interval90_ms": estimate.interval90_ms.to_list() if estimate else None,
        "latency_status": trial.latency_status,
        "speedup_estimate": estimated.speedup if estimated else None,
        "speedup_estimate_interval90": estimated.interval90.to_list() if estimated else None,
        "speedup": timed.speedup if timed else None,
        "speedup_ci95": timed.speedup_ci95.to_list() if timed else None,
        "rounds": timed.rounds if timed else None,
        "size_bytes": trial.size_bytes,
        "deflate_bytes": trial.deflate_bytes,
        "model": model,
        "recipe": recipe,
        "recipe_hash": trial.recipe_hash,
    }


def _finalist(candidate: CandidateRecord) -> dict[str, Any]:
    """What was verified of a candidate, and how large it is."""
    drop, timed = candidate.verified_drop, candidate.verified_speedup
    return {
        "trial": candidate.trial,
        "accuracy_drop": drop.drop if drop else None,
        "speedup": timed.speedup if timed else None,
        "size_bytes": candidate.size_bytes,
        "deflate_bytes": candidate.deflate_bytes,
    }


def _accuracy(baseline: float | None, drop: float | None, higher_is_better: bool) -> float | None:
    if baseline is None or drop is None:
        return None
    return baseline - drop if higher_is_better else baseline + drop


def _counts(candidates: Sequence[CandidateRecord]) -> dict[str, int]:
    states = [c.state for c in candidates]
    return {
        "total": len(states),
        **{state: states.count(state) for state in ("complete", "pruned", "failed")},
        "built": sum(c.built for c in candidates),
    }


def _coverage(record: StudyRecord, trial: CandidateRecord | None) -> float | None:
    """Coverage of the best's estimate; without one, the mean over all that were estimated."""
    if trial is not None and trial.estimate is not None:
        return trial.estimate.coverage
    found = [c.estimate.coverage for c in record.candidates if c.estimate is not None]
    return math.fsum(found) / len(found) if found else None

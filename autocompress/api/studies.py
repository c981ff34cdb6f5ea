"""``study list|show|trials|best|export|delete``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autocompress.errors import StorageError
from autocompress.store import open_store
from autocompress.store.plain import json_ready

if TYPE_CHECKING:
    from autocompress.store.records import CandidateRecord, StudyHeader


def list_studies(storage: str | Path) -> list[dict[str, Any]]:
    """All studies of a database, the newest first.

    Raises:
        StorageError: when the database cannot be read.
    """
    with open_store(storage, create=False) as store:
        return [_listed(header) for header in store.list_studies()]


def show_study(study: str, storage: str | Path) -> dict[str, Any]:
    """One study: what was asked, what was found.

    Raises:
        StorageError: when there is no such study.
    """
    with open_store(storage, create=False) as store:
        header = store.header(study)
    return _json(
        {
            **_listed(header),
            "stop_reason": header.stop_reason,
            "runtime": header.study.runtime,
            "device": header.study.device,
            "config": dict(header.study.config),
            "baseline": header.baseline,
            "summary": header.summary,
        }
    )


def list_trials(study: str, storage: str | Path) -> list[dict[str, Any]]:
    """The trials of a study, in order.

    Raises:
        StorageError: when there is no such study.
    """
    with open_store(storage, create=False) as store:
        record = store.load(study)
    baseline = (record.header.baseline or {}).get("search_accuracy")
    return [_trial(candidate, baseline) for candidate in record.candidates]


def best_trial(study: str, storage: str | Path) -> dict[str, Any]:
    """The trial that a study emitted.

    Raises:
        StorageError: when there is no such study, or it emitted nothing yet.
    """
    with open_store(storage, create=False) as store:
        record = store.load(study)
    summary = record.header.summary
    if summary is None or not summary.get("best"):
        raise StorageError(f"study {study!r} has no result yet; see 'autocompress study show {study}'")
    best = dict(summary["best"])
    return _json({"study": study, "number": best.get("trial"), "target_met": summary["target_met"], **best})


def export_study(study: str, output: str | Path, storage: str | Path) -> dict[str, Any]:
    """Writes everything known about a study as one JSON document.

    Raises:
        StorageError: when there is no such study, or the file cannot be written.
    """
    with open_store(storage, create=False) as store:
        store.export_study(study, output)
    return {"study": study, "path": str(output)}


def delete_study(study: str, storage: str | Path) -> dict[str, Any]:
    """Deletes a study, in our tables and in Optuna's; emitted files stay.

    Raises:
        StorageError: when there is no such study.
    """
    with open_store(storage, create=False) as store:
        store.delete_study(study)
    return {"study": study, "deleted": True}


def _listed(header: StudyHeader) -> dict[str, Any]:
    summary = header.summary or {}
    best = summary.get("best") or {}
    return {
        "study": header.name,
        "model": header.study.model_path,
        "status": header.status,
        "trials": header.trials,
        "target_speedup": header.study.config.get("target_speedup"),
        "target_met": summary.get("target_met"),
        "target_met_by_estimate": summary.get("target_met_by_estimate"),
        "speedup": best.get("speedup"),
        "speedup_estimate": best.get("speedup_estimate"),
        "latency_status": best.get("latency_status"),
        "accuracy_drop": best.get("accuracy_drop"),
        "created": header.created.isoformat(timespec="seconds"),
        "updated": header.updated.isoformat(timespec="seconds"),
    }


def _trial(candidate: CandidateRecord, baseline: float | None) -> dict[str, Any]:
    drop = None if candidate.search_drop is None else candidate.search_drop.drop
    return _json(
        {
            "number": candidate.trial,
            "state": candidate.state,
            "origin": candidate.origin,
            "recipe": candidate.recipe_hash,
            "speedup": None if candidate.search_speedup is None else candidate.search_speedup.speedup,
            "speedup_estimate": None if candidate.estimated_speedup is None else candidate.estimated_speedup.speedup,
            "latency_status": candidate.latency_status,
            "latency_ms": None if candidate.latency is None else candidate.latency.latency_ms,
            "latency_estimate_ms": None if candidate.estimate is None else candidate.estimate.latency_ms,
            "accuracy": None if drop is None or baseline is None else baseline - drop,
            "accuracy_drop": drop,
            "predicted_drop": candidate.predicted_drop,
            "verified_drop": None if candidate.verified_drop is None else candidate.verified_drop.drop,
            "verified_speedup": None if candidate.verified_speedup is None else candidate.verified_speedup.speedup,
            "size_bytes": candidate.size_bytes,
            "deflate_bytes": candidate.deflate_bytes,
            "reason": candidate.cause,
        }
    )


def _json(document: dict[str, Any]) -> dict[str, Any]:
    ready: dict[str, Any] = json_ready(document)
    return ready

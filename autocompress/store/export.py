"""A study as one JSON document."""

from __future__ import annotations

import os
from typing import Any

from autocompress.files import write_text
from autocompress.store.plain import json_ready, to_json
from autocompress.store.records import StudyRecord

FORMAT_VERSION = 1


def study_document(record: StudyRecord) -> dict[str, Any]:
    """Everything known about a study, JSON-ready."""
    header = json_ready(record.header)
    return {
        "autocompress_study": FORMAT_VERSION,
        **header.pop("study"),
        **header,
        "candidates": [{**json_ready(c), "latency_status": c.latency_status} for c in record.candidates],
        "operators": json_ready(record.operators),
        "layers": json_ready(record.layers),
        "events": json_ready(record.events),
    }


def write_study(record: StudyRecord, path: str | os.PathLike[str]) -> None:
    """Writes ``study_document`` atomically.

    Raises:
        StorageError: when the file cannot be written; an older one is left as it was.
    """
    write_text(path, to_json(study_document(record), indent=1) + "\n")

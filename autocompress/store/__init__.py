"""The study database: SQLAlchemy tables beside Optuna's in the same database."""

from __future__ import annotations

from autocompress.store.location import DEFAULT_FILE_NAME, default_storage_path
from autocompress.store.opening import open_store
from autocompress.store.records import (
    CandidateRecord,
    EventRecord,
    LayerRecord,
    NewStudy,
    OperatorRecord,
    StudyHeader,
    StudyRecord,
)
from autocompress.store.store import Store

__all__ = [
    "DEFAULT_FILE_NAME",
    "CandidateRecord",
    "EventRecord",
    "LayerRecord",
    "NewStudy",
    "OperatorRecord",
    "Store",
    "StudyHeader",
    "StudyRecord",
    "default_storage_path",
    "open_store",
]

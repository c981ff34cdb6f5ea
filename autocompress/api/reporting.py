"""``report``: the report of a study, again, in the formats asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autocompress.errors import StorageError
from autocompress.report import write_report
from autocompress.store import open_store


def report(
    study: str, *, storage: str | Path, formats: Sequence[str] = ("html",), output: str | Path | None = None
) -> dict[str, Any]:
    """Writes the report of a study that has ended.

    Args:
        study: its name.
        storage: the database.
        formats: any of "html", "png", "csv", "json", "md".
        output: folder; ``report-<study>`` in the current one by default.

    Returns:
        ``files``: the paths written.

    Raises:
        UserError: when there is no such study, it has no result yet, or a format is unknown.
    """
    with open_store(storage, create=False) as store:
        record = store.load(study)
    if record.header.summary is None:
        raise StorageError(f"study {study!r} has no result to report yet (it is {record.header.status})")
    folder = Path(output) if output is not None else Path(f"report-{study}")
    written = write_report(record, dict(record.header.summary), tuple(formats), folder)
    return {"study": study, "files": [str(path) for path in written.values()]}

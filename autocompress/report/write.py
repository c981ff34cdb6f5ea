"""Writes the files of a report, each whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autocompress.errors import ConfigError, StorageError
from autocompress.files import write_bytes, write_text
from autocompress.report.summary import validate_summary
from autocompress.store.export import study_document
from autocompress.store.plain import to_json
from autocompress.store.records import StudyRecord

Render = Callable[[StudyRecord, Mapping[str, Any]], bytes]


def write_report(
    record: StudyRecord, summary: Mapping[str, Any], formats: Sequence[str], folder: Path
) -> dict[str, Path]:
    """Writes a study's report.

    Args:
        record: the study.
        summary: its summary, as ``build_summary`` makes it.
        formats: any of ``FORMATS``.
        folder: where to; made if it is not there.

    Returns:
        The files written, by format.

    Raises:
        ConfigError: for an unknown format.
        StorageError: when a file cannot be written; older ones are left as they were.
    """
    unknown = [name for name in formats if name not in _RENDERERS]
    if unknown or not formats:
        given = f"unknown report format {unknown[0]!r}" if unknown else "no report format is given"
        raise ConfigError(f"{given}; give any of {', '.join(FORMATS)}")
    validate_summary(summary)
    _make(folder)
    written = {}
    for name in dict.fromkeys(formats):
        file_name, render = _RENDERERS[name]
        written[name] = folder / file_name
        write_bytes(written[name], render(record, summary))
    return written


def write_summary(summary: Mapping[str, Any], folder: Path) -> Path:
    """Writes ``summary.json``.

    Raises:
        StorageError: when it cannot be written.
        AutocompressError: when the summary lacks a key.
    """
    validate_summary(summary)
    _make(folder)
    path = folder / "summary.json"
    write_text(path, to_json(summary, indent=2) + "\n")
    return path


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder {folder} cannot be made ({error.strerror}); give another --output") from error


def _html(record: StudyRecord, summary: Mapping[str, Any]) -> bytes:
    from autocompress.report.html import report_html

    return report_html(record, summary).encode()


def _png(record: StudyRecord, summary: Mapping[str, Any]) -> bytes:
    from autocompress.report.png import pareto_png

    return pareto_png(record, summary)


def _csv(record: StudyRecord, _: Mapping[str, Any]) -> bytes:
    from autocompress.report.table_csv import trials_csv

    return trials_csv(record.candidates).encode()


def _json(record: StudyRecord, summary: Mapping[str, Any]) -> bytes:
    return (to_json({"summary": summary, "study": study_document(record)}, indent=1) + "\n").encode()


def _markdown(record: StudyRecord, summary: Mapping[str, Any]) -> bytes:
    from autocompress.report.markdown import report_markdown

    return report_markdown(record, summary).encode()


_RENDERERS: dict[str, tuple[str, Render]] = {
    "html": ("report.html", _html),
    "png": ("pareto.png", _png),
    "csv": ("trials.csv", _csv),
    "json": ("report.json", _json),
    "md": ("report.md", _markdown),
}

FORMATS = tuple(_RENDERERS)

"""``table list|show|validate|merge|diff``: the latency tables at hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from autocompress.api.table_rows import family_rows, header_row, limited, operator_row, slowest_first
from autocompress.api.table_sets import diff_tables, merge_tables
from autocompress.errors import AutocompressError, ConfigError, TableError
from autocompress.latency.device import identify_device
from autocompress.latency.families import family_of
from autocompress.latency.journal import load_with_journal
from autocompress.latency.journal_lines import journal_path, read_journal
from autocompress.latency.locate import find_table, own_tables, shipped_tables
from autocompress.latency.reading import read_table
from autocompress.latency.table import LatencyTable
from autocompress.runtimes import get_runtime


def list_tables() -> list[dict[str, Any]]:
    """Every table that ships or is this user's own, and whether it fits this device."""
    shipped = [_listed(path, "shipped") for path in shipped_tables()]
    return shipped + [_listed(path, "your own") for path in own_tables()]


def show_table(
    table: str | Path, *, family: str | None = None, op_type: str | None = None, invalid: bool = False, limit: int = 20
) -> dict[str, Any]:
    """Where a table comes from and what it holds; what its journal adds is in it.

    Args:
        table: its path, or its name as ``table list`` shows it.
        family: only operators of this family.
        op_type: only operators of this type.
        invalid: only operators whose times must not be used.
        limit: at most so many operators, the slowest first; 0 for all.

    Returns:
        ``provenance``, counts of the whole table, and of what was asked for the ``families`` and the ``operators``.

    Raises:
        TableError: when there is no such table, or it is damaged.
        ConfigError: when it has no operator of that family or type.
    """
    path = find_table(table)
    loaded, pending = load_with_journal(path)
    _refuse_unknown("family", family, {family_of(record.signature) for record in loaded}, path)
    _refuse_unknown("op", op_type, {record.signature.op_type for record in loaded}, path)
    matching = [
        record
        for record in loaded
        if (family is None or family_of(record.signature) == family)
        and (op_type is None or record.signature.op_type == op_type)
        and not (invalid and record.valid)
    ]
    return {
        "path": str(path),
        "provenance": header_row(loaded.header),
        "records": len(loaded),
        "valid": sum(record.valid for record in loaded),
        "models": len(loaded.models),
        "journal": pending,
        "families": family_rows(matching),
        "matching": len(matching),
        "operators": [operator_row(record) for record in limited(slowest_first(matching), limit)],
    }


def validate_table(table: str | Path) -> dict[str, Any]:
    """Checks every line of a table.

    Returns:
        ``valid``, counts of what is readable, ``faults`` with the line of each, and ``notices`` about its journal.

    Raises:
        TableError: when there is no such table, or the file has nothing of one.
    """
    path = find_table(table)
    reading = read_table(path)
    if not reading.is_table:
        raise TableError(f"{path.name} is not a latency table: {reading.faults[0]}")
    journal = read_journal(journal_path(Path(os.path.realpath(path))))
    return {
        "path": str(path),
        "valid": not reading.faults,
        "schema": reading.schema,
        "records": len(reading.records),
        "models": len(reading.models),
        "faults": [{"file": f.file, "line": f.line, "fault": f.reason} for f in reading.faults],
        "journal": journal.entries,
        "notices": journal.dropped,
    }


def _listed(path: Path, origin: str) -> dict[str, Any]:
    row: dict[str, Any] = {"name": path.stem, "path": str(path), "origin": origin, "records": 0, "matches": False}
    try:
        loaded, pending = load_with_journal(path)
    except TableError as error:
        return {**row, "device": "", "runtime": "", "version": "", "threads": None, "reason": str(error)}
    header = loaded.header
    reason = _why_not(loaded)
    return {
        **row,
        "device": header.device.fingerprint,
        "runtime": header.runtime,
        "version": header.runtime_version,
        "threads": header.threads,
        "records": len(loaded),
        "models": len(loaded.models),
        "journal": pending,
        "matches": not reason,
        "reason": reason,
    }


def _why_not(table: LatencyTable) -> str:
    header, here = table.header, identify_device().fingerprint
    if header.device.fingerprint != here:
        return f"made on {header.device.fingerprint}"
    try:
        version = get_runtime(header.runtime).version
    except (AutocompressError, ImportError):
        return f"{header.runtime} is not installed"
    return "" if version == header.runtime_version else f"made with {header.runtime} {header.runtime_version}"


def _refuse_unknown(what: str, asked: str | None, known: set[str], path: Path) -> None:
    if asked is not None and asked not in known:
        raise ConfigError(f"{path.name} has no --{what} {asked!r}; it has {', '.join(sorted(known))}")


__all__ = ["diff_tables", "find_table", "list_tables", "merge_tables", "show_table", "validate_table"]

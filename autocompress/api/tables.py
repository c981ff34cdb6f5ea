"""``table list|show|validate``: the latency tables at hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from autocompress.errors import AutocompressError, TableError
from autocompress.latency.device import identify_device
from autocompress.latency.locate import shipped_tables, user_cache
from autocompress.latency.table import LatencyTable
from autocompress.runtimes import get_runtime


def list_tables() -> list[dict[str, Any]]:
    """Every table that ships or is this user's own, and whether it fits this device."""
    return [_listed(path) for path in _known_tables()]


def show_table(table: str | Path) -> dict[str, Any]:
    """Where a table comes from and what it holds.

    Raises:
        TableError: when there is no such table, or it is damaged.
    """
    path = find_table(table)
    loaded = LatencyTable.load(path)
    header = loaded.header
    counts: Counter[str] = Counter()
    valid: Counter[str] = Counter()
    for record in loaded:
        counts[record.signature.op_type] += 1
        valid[record.signature.op_type] += record.valid
    return {
        "path": str(path),
        "provenance": {
            "device": header.device.name,
            "fingerprint": header.device.fingerprint,
            "runtime": header.runtime,
            "runtime_version": header.runtime_version,
            "threads": header.threads,
            "clock": header.clock,
            "date": header.date,
            "command": header.command,
        },
        "records": len(loaded),
        "ops": [{"op_type": name, "records": n, "valid": valid[name]} for name, n in counts.most_common()],
    }


def validate_table(table: str | Path) -> dict[str, Any]:
    """Checks a table against its schema.

    Raises:
        TableError: naming the fault.
    """
    path = find_table(table)
    return {"path": str(path), "valid": True, "records": len(LatencyTable.load(path))}


def find_table(table: str | Path) -> Path:
    """A table by path or by the stem of its name.

    Raises:
        TableError: when there is none.
    """
    path = Path(table)
    if path.is_file():
        return path
    for known in _known_tables():
        if known.stem == str(table) or known.name == str(table):
            return known
    raise TableError(f"there is no latency table {str(table)!r}; see 'autocompress table list', or give a path")


def _known_tables() -> list[Path]:
    own = sorted((user_cache() / "latency_tables").glob("*.jsonl"))
    # What was observed of whole models lies beside a table and is none itself.
    return [path for path in (*shipped_tables(), *own) if not path.name.endswith(".models.jsonl")]


def _listed(path: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"name": path.stem, "path": str(path), "records": 0, "matches": False}
    try:
        loaded = LatencyTable.load(path)
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

"""``table merge|diff``: several latency tables at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autocompress.api.table_rows import family_rows, limited, operator_row, slowest_first
from autocompress.errors import StorageError
from autocompress.latency.comparison import RatioSummary, compare
from autocompress.latency.journal import TableFile, load_with_journal
from autocompress.latency.locate import find_table
from autocompress.latency.merging import Merged, merge
from autocompress.latency.record import LatencyRecord
from autocompress.latency.table import LatencyTable


def merge_tables(tables: Sequence[str | Path], output: str | Path, *, prefer: str = "fastest") -> dict[str, Any]:
    """Joins tables of one device, runtime, version and thread count, journals included.

    Args:
        tables: paths or names; a single one is written anew, in the newest schema.
        output: where to; may be one of the tables, and else must not exist.
        prefer: which of two valid records of one operator counts: "fastest", "first" or "last".

    Raises:
        TableError: when a table is damaged or about something else than the first.
        StorageError: when the output exists or cannot be written.
    """
    paths, output = [find_table(table) for table in tables], Path(output)
    loaded = [load_with_journal(path)[0] for path in paths]
    command = f"autocompress table merge {' '.join(path.name for path in paths)}"

    def merged(parts: Sequence[LatencyTable]) -> Merged:
        named = [(path.name, part) for path, part in zip(paths, parts, strict=True)]
        return merge(named, prefer=prefer, command=command if len(paths) > 1 else None)

    result = merged(loaded)
    place = next((i for i, path in enumerate(paths) if output.exists() and output.samefile(path)), None)
    if place is not None:
        # A profile may write to it meanwhile: what counts is how the table is once nobody else can write.
        def change(current: LatencyTable) -> LatencyTable:
            nonlocal result
            result = merged([current if i == place else part for i, part in enumerate(loaded)])
            return result.table

        TableFile(output, loaded[place].header).rewrite(change)
    elif os.path.lexists(output):
        raise StorageError(f"{output} exists; name it among the tables to merge, or give another output")
    else:
        result.table.save(output)
    return _merge_document(output, paths, loaded, result)


def diff_tables(a: str | Path, b: str | Path, *, limit: int = 10) -> dict[str, Any]:
    """Compares two tables, journals included; they need not be of one device or runtime.

    Args:
        a: path or name.
        b: path or name.
        limit: at most so many operators in each listing; 0 for all.

    Returns:
        ``header``: fields that differ; ``all``, ``families`` and ``models``: ratios of times, second over first, as
        medians, quantiles and ratio of totals; ``largest``: the largest differences; ``only_a`` and ``only_b``.

    Raises:
        TableError: when a table is damaged.
    """
    paths = [find_table(a), find_table(b)]
    first, second = (load_with_journal(path)[0] for path in paths)
    found = compare(first, second)
    largest = [
        {**operator_row(pair.a), "a_us": pair.a.minimum_us, "b_us": pair.b.minimum_us, "ratio": pair.ratio}
        for pair in limited(found.pairs, limit)
    ]
    return {
        "a": {"path": str(paths[0]), "records": len(first)},
        "b": {"path": str(paths[1]), "records": len(second)},
        "header": [{"field": name, "a": ours, "b": theirs} for name, ours, theirs in found.header],
        "common": len(found.pairs) + found.unusable,
        "unusable": found.unusable,
        "all": _summary_row(found.overall),
        "families": [_summary_row(summary) for summary in found.families],
        "models": _summary_row(found.models),
        "largest": largest,
        "only_a": _only(found.only_a, limit),
        "only_b": _only(found.only_b, limit),
    }


def _merge_document(
    output: Path, paths: Sequence[Path], loaded: Sequence[LatencyTable], result: Merged
) -> dict[str, Any]:
    return {
        "path": str(output),
        "records": len(result.table),
        "invalid": sum(not record.valid for record in result.table),
        "models": len(result.table.models),
        "repeated": result.repeated,
        "tables": [
            {"path": str(path), "records": len(table), "taken": taken, "models": len(table.models), "models_taken": m}
            for path, table, taken, m in zip(paths, loaded, result.records, result.models, strict=True)
        ],
    }


def _summary_row(summary: RatioSummary | None) -> dict[str, Any] | None:
    return None if summary is None else asdict(summary)


def _only(records: Sequence[LatencyRecord], limit: int) -> dict[str, Any]:
    return {
        "records": len(records),
        "families": family_rows(records),
        "operators": [operator_row(record) for record in limited(slowest_first(records), limit)],
    }

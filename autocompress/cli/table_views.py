"""How the results of ``autocompress table`` look in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from autocompress.cli.layout import Column, factor, facts_table, listing, milliseconds, rows_table, sentences
from autocompress.cli.output import Document

if TYPE_CHECKING:
    from rich.console import RenderableType


def show_list(document: Document) -> Iterable[RenderableType]:
    """``table list``."""
    yield rows_table(
        document["tables"],
        [
            Column("name", "latency table"),
            Column("origin", "origin"),
            Column("device", "device"),
            Column("runtime", "runtime"),
            Column("version", "version"),
            Column("threads", "threads", right=True),
            Column("records", "operators", right=True),
            Column("models", "models", right=True),
            Column("matches", "fits this device", lambda fits: "yes" if fits else "no"),
            Column("reason", "why not"),
            Column("path", "file"),
        ],
    )


def show_one(document: Document) -> Iterable[RenderableType]:
    """``table show``."""
    provenance = document.get("provenance", {})
    yield facts_table(
        {**provenance, "table": document.get("path"), "counts": _counts(document)},
        [
            Column("table", "table"),
            *(Column(key, key.replace("_", " ")) for key in provenance if key != "constants"),
            Column("constants", "constants", _constants),
            Column("counts", "holds"),
        ],
    )
    yield rows_table(
        document.get("families", ()),
        [
            Column("family", "family"),
            Column("records", "operators", right=True),
            Column("valid", "valid", right=True),
            Column("fastest_us", "fastest", microseconds, right=True),
            Column("median_us", "median", microseconds, right=True),
            Column("slowest_us", "slowest", microseconds, right=True),
        ],
    )
    operators, matching = document.get("operators", ()), document.get("matching", 0)
    more = f"; --limit {len(operators)} leaves out {matching - len(operators)}" if matching > len(operators) else ""
    yield from sentences([f"{matching} operators, the slowest first{more}"])
    yield rows_table(
        operators,
        [
            Column("minimum_us", "time", microseconds, right=True),
            Column("spread_us", "spread", microseconds, right=True),
            Column("family", "family"),
            Column("op_type", "type"),
            Column("work", "work"),
            Column("invalid_reason", "invalid because"),
        ],
    )


def show_validity(document: Document) -> Iterable[RenderableType]:
    """``table validate``."""
    yield from sentences(_fault(fault) for fault in document.get("faults", ()))
    yield from sentences(document.get("notices", ()))
    if document.get("valid"):
        yield from sentences([f"{document['path']} is valid: {_counts(document)}"])


def show_merge(document: Document) -> Iterable[RenderableType]:
    """``table merge``."""
    yield rows_table(
        document.get("tables", ()),
        [
            Column("path", "table"),
            Column("records", "operators", right=True),
            Column("taken", "taken", right=True),
            Column("models", "models", right=True),
            Column("models_taken", "taken", right=True),
        ],
    )
    yield from sentences(
        [
            f"{document['path']} holds {_counts(document)}; "
            f"{document.get('repeated', 0)} operators stood in more than one table"
        ]
    )


def show_difference(document: Document) -> Iterable[RenderableType]:
    """``table diff``."""
    yield from sentences([f"A: {document['a']['path']}", f"B: {document['b']['path']}"])
    yield rows_table(
        document.get("header", ()), [Column("field", "header"), Column("a", "A", _short), Column("b", "B", _short)]
    )
    named = [{**row, "name": row["name"] or "all operators"} for row in _ratios(document)]
    yield rows_table(
        named,
        [
            Column("name", "time in B over time in A"),
            Column("operators", "in both", right=True),
            Column("median", "median", factor, right=True),
            Column("quantile10", "10 %", factor, right=True),
            Column("quantile90", "90 %", factor, right=True),
            Column("total", "sum over sum", factor, right=True),
        ],
    )
    yield rows_table(
        document.get("largest", ()),
        [
            Column("ratio", "B over A", factor, right=True),
            Column("a_us", "A", microseconds, right=True),
            Column("b_us", "B", microseconds, right=True),
            Column("op_type", "type"),
            Column("work", "work"),
        ],
        title="largest differences",
    )
    for name in ("a", "b"):
        only = document.get(f"only_{name}", {})
        families = ", ".join(f"{row['records']} {row['family']}" for row in only.get("families", ()))
        described = f" ({families})" if families else ""
        yield from sentences([f"only in {name.upper()}: {only.get('records', 0)} operators{described}"])


def microseconds(value: float) -> str:
    """``1234.5`` -> ``"1.234 ms"``; small ones in microseconds."""
    return milliseconds(value / 1000)


def _ratios(document: Document) -> Iterable[Mapping[str, Any]]:
    rows = [document.get("all"), *document.get("families", ()), document.get("models")]
    return [row for row in rows if row is not None]


def _counts(document: Document) -> str:
    parts = [f"{document.get('records', 0)} operators"]
    if document.get("models"):
        parts.append(f"{document['models']} whole models")
    if document.get("journal"):
        parts.append(f"{document['journal']} lines still in the journal")
    return listing(parts)


def _fault(fault: Mapping[str, Any]) -> str:
    where = fault["file"] if fault["line"] is None else f"{fault['file']} line {fault['line']}"
    return f"{where} {fault['fault']}"


def _constants(constants: Mapping[str, float]) -> str:
    units = {"gmacs": "GMAC/s", "gbytes_per_s": "GB/s", "us": "us"}
    return listing(
        f"{name} {value:g} {next((u for end, u in units.items() if name.endswith(end)), '')}".strip()
        for name, value in constants.items()
    )


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

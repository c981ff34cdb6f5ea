"""The executed graphs: which op costs the time, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from autocompress.report.html.markup import (
    Cell,
    Column,
    Markup,
    details,
    element,
    paragraph,
    section,
    table,
)
from autocompress.report.wording import MISSING, count, milliseconds, percent, plural
from autocompress.store.records import OperatorRecord, Role

_TITLES: dict[Role, str] = {"baseline": "Baseline as executed", "best": "Best as executed"}

_COLUMNS = [
    Column("#", numeric=True, hint="order of execution"),
    Column("Op"),
    Column("Name"),
    Column("Layer", hint="layer of the given model that it stands for"),
    Column("Shape", wide=True),
    Column("Type"),
    Column("Weights", numeric=True),
    Column("MACs", numeric=True, hint="multiply-accumulate operations"),
    Column("Estimated", numeric=True),
    Column("Share", numeric=True, hint="of the estimated time of all operators"),
    Column("Source", hint="where the time comes from: latency table, forest, measured, or a stated bound"),
]


def operators(records: Mapping[Role, Sequence[OperatorRecord]]) -> Markup:
    """Time by op type before and after, then every operator of both graphs."""
    if not any(records.values()):
        return section("Operators", "operators", paragraph("No executed graph was recorded.", kind="empty"))
    tables = [
        details(f"{title}: {_totals(records[role])}", _operator_table(records[role], title))
        for role, title in _TITLES.items()
        if records.get(role)
    ]
    return section(
        "Operators",
        "operators",
        paragraph(
            "The graph as the runtime really executes it, after fusion. Times are estimates of each operator; "
            "quantize, dequantize and reorder operators that remain are the price of precision boundaries.",
            kind="note",
        ),
        _by_type(records),
        *tables,
    )


def _by_type(records: Mapping[Role, Sequence[OperatorRecord]]) -> Markup:
    roles = [role for role in _TITLES if records.get(role)]
    sums = {role: _sums(records[role]) for role in roles}
    totals = {role: sum(ms for _, ms in sums[role].values()) or 1.0 for role in roles}
    kinds = sorted({kind for found in sums.values() for kind in found}, key=lambda k: -_largest(k, sums))
    columns = [
        Column("Op"),
        Column("Type"),
        *(
            column
            for role in roles
            for column in (
                Column(f"{role.capitalize()}: number", True),
                Column("Estimated", True),
                Column("Share", True),
            )
        ),
    ]
    rows: list[list[Cell | object]] = []
    for kind in kinds:
        row: list[Cell | object] = [kind[0], kind[1]]
        for role in roles:
            number, ms = sums[role].get(kind, (0, 0.0))
            share = ms / totals[role]
            row += (
                [Cell(number), Cell(milliseconds(ms), ms), Cell(percent(share), share, share)]
                if number
                else [Cell(MISSING, 0)] * 3
            )
        rows.append(row)
    return table(columns, rows, caption="Estimated time by op type.")


def _sums(records: Sequence[OperatorRecord]) -> dict[tuple[str, str], tuple[int, float]]:
    """(number, ms) per (op type, dtype)."""

    def kind(record: OperatorRecord) -> tuple[str, str]:
        return record.op_type, record.dtype

    found = {}
    for key, group in groupby(sorted(records, key=kind), kind):
        times = [record.estimated_ms for record in group]
        found[key] = (len(times), sum(times))
    return found


def _largest(kind: tuple[str, str], sums: Mapping[Role, Mapping[tuple[str, str], tuple[int, float]]]) -> float:
    return max(found.get(kind, (0, 0.0))[1] for found in sums.values())


def _totals(records: Sequence[OperatorRecord]) -> str:
    parts = [
        plural(len(records), "operator"),
        f"{count(sum(r.macs for r in records))} MACs",
        f"{count(sum(r.parameters for r in records))} weights",
        f"{milliseconds(sum(r.estimated_ms for r in records))} estimated",
    ]
    return ", ".join(parts)


def _operator_table(records: Sequence[OperatorRecord], title: str) -> Markup:
    largest = max((record.share for record in records), default=0.0) or 1.0
    rows = [_row(i, record, largest) for i, record in enumerate(records, start=1)]
    return table(_COLUMNS, rows, caption=f"{title}, operator by operator.")


def _row(position: int, record: OperatorRecord, largest: float) -> list[Cell | object]:
    return [
        position,
        record.op_type,
        element("span", record.name, class_="name"),
        element("span", record.layer or MISSING, class_="name"),
        element("span", record.shape, class_="name"),
        record.dtype,
        Cell(count(record.parameters), record.parameters),
        Cell(count(record.macs), record.macs),
        Cell(milliseconds(record.estimated_ms), record.estimated_ms),
        Cell(percent(record.share), record.share, record.share / largest),
        record.source,
    ]

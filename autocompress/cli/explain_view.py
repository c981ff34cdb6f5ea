"""``estimate --explain`` in the terminal: where the time goes, why, and what int8 would make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

Row = Mapping[str, Any]

_MOST_OPERATORS = 15
_MOST_GAINS, _MOST_LOSSES = 10, 15
_INDENT = 4


def show_explanation(document: Row) -> Iterable[RenderableType]:
    """The parts that ``estimate --explain`` adds."""
    from rich.text import Text

    yield _heading("By kind of operator")
    yield _kinds(document["kinds"])
    yield from _operators(document["ops"])
    if document.get("int8") is None:
        yield Text(f"\nint8: {document['int8_unavailable']}")
        return
    yield from _prospects(document["int8"])


def _kinds(rows: Sequence[Row]) -> Table:
    from autocompress.cli.layout import Column, milliseconds, percent, rows_table

    return rows_table(
        rows,
        [
            Column("share", "share", percent, right=True),
            Column("latency_ms", "estimated", milliseconds, right=True),
            Column("operators", "operators", right=True),
            Column("kind", "kind"),
        ],
    )


def _operators(rows: Sequence[Row]) -> Iterable[RenderableType]:
    from autocompress.cli.layout import percent

    groups = _alike(rows, lambda row: (row["op_type"], row["shapes"], row["latency_ms"], _bare_note(row)))
    groups.sort(key=lambda group: -sum(row["share"] for row in group))
    shown = groups[:_MOST_OPERATORS]
    left = sum(len(group) for group in groups[_MOST_OPERATORS:])
    yield _heading("Operators, the dearest first")
    for group in shown:
        first = group[0]
        times = f"{len(group)} x " if len(group) > 1 else ""
        share, each = percent(sum(row["share"] for row in group)), _estimate(first)
        yield _line(f"{share:>7}  {times}{each}  {_names(group)}: {first['op_type']} {first['dtype']}")
        yield from _notes([first["shapes"], first["note"]])
    if left:
        yield _line(f"         and {left} more; --json has them all")


def _estimate(row: Row) -> str:
    from autocompress.cli.layout import milliseconds

    if row["source"] == "table":
        return f"{milliseconds(row['latency_ms'])} (table)"
    low, high = row["interval90_ms"]
    return f"{milliseconds(row['latency_ms'])} ({row['source']}, {milliseconds(low)} to {milliseconds(high)})"


def _prospects(int8: Row) -> Iterable[RenderableType]:
    from autocompress.cli.layout import Column, factor, milliseconds, rows_table

    yield _heading("What int8 would make of it")
    for sentence in int8["sentences"]:
        yield _wrapped(sentence)
    yield _heading("By kind, in float and in int8")
    yield rows_table(
        int8["kinds"],
        [
            Column("kind", "kind"),
            Column("float_operators", "operators", right=True),
            Column("float_ms", "in float", milliseconds, right=True),
            Column("int8_operators", "operators", right=True),
            Column("int8_ms", "in int8", milliseconds, right=True),
            Column("factor", "factor", factor, right=True),
        ],
    )
    yield from _regions(int8["regions"])


def _regions(rows: Sequence[Row]) -> Iterable[RenderableType]:
    groups = _alike(rows, lambda row: (row["op_type"], row["float_ms"], row["int8_ms"], _bare_note(row)))
    gains = [group for group in groups if group[0]["saves_ms"] > 0]
    losses = [group for group in reversed(groups) if group[0]["saves_ms"] <= 0]
    for title, listed, most in (
        ("Regions by what int8 saves", gains, _MOST_GAINS),
        ("Regions that int8 makes slower", losses, _MOST_LOSSES),
    ):
        if not listed:
            continue
        yield _heading(title)
        for group in listed[:most]:
            yield from _region(group)
        left = sum(len(group) for group in listed[most:])
        if left:
            yield _line(f"         and {left} more; --json has them all")


def _region(group: Sequence[Row]) -> Iterable[RenderableType]:
    from autocompress.cli.layout import milliseconds

    first = group[0]
    times = f"{len(group)} x " if len(group) > 1 else ""
    saved = milliseconds(abs(first["saves_ms"]))
    sign = "saves" if first["saves_ms"] > 0 else "costs"
    before, after = milliseconds(first["float_ms"]), milliseconds(first["int8_ms"])
    yield _line(f"  {times}{sign} {saved} ({before} to {after})  {_names(group)}: {first['op_type']}")
    yield from _notes([first["note"]])


def _alike(rows: Sequence[Row], key: Any) -> list[list[Row]]:
    """Rows that a reader could not tell apart, together, in the order of their first."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def _bare_note(row: Row) -> str:
    """What is said of a row, whichever operators it names."""
    return " ".join(reason["code"] for reason in row["reasons"])


def _names(group: Sequence[Row]) -> str:
    names = [str(row.get("label") or row["region"]) for row in group]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _heading(text: str) -> Text:
    from rich.text import Text

    return Text(f"\n{text}", style="bold")


def _line(text: str) -> Text:
    from rich.text import Text

    return Text(text)


def _notes(texts: Sequence[str]) -> Iterable[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    said = "; ".join(text for text in texts if text)
    if said:
        yield Padding(Text(said, style="dim"), (0, 0, 0, 9))


def _wrapped(text: str) -> RenderableType:
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(text), (0, 0, 0, _INDENT))

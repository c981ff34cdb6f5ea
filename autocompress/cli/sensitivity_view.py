"""``sensitivity`` in the terminal: layers by precision, or curves with one line for each width or rank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

Row = Mapping[str, Any]

_AS_IT_IS = "fp32"


def show_precisions(layers: Sequence[Row]) -> Iterable[RenderableType]:
    """One line for each layer and precision that it may change to, beside the time that it takes as it is."""
    from autocompress.cli.layout import Column, fixed_milliseconds, number, percent, rows_table

    now = {row["name"]: row for row in layers if row["option"] == _AS_IT_IS}
    changed = [row for row in layers if row["option"] != _AS_IT_IS]
    changing = {row["name"] for row in changed}
    stays = [row for name, row in now.items() if name not in changing]
    lines = [
        *({**row, "now": now.get(row["name"], {})} for row in changed),
        *({"name": row["name"], "op_type": row["op_type"], "now": row} for row in stays),
    ]
    yield rows_table(
        lines,
        [
            Column("name", "layer"),
            Column("op_type", "type"),
            Column("now.latency_ms", "time now", fixed_milliseconds, right=True),
            Column("now.share", "share", percent, right=True),
            Column("option", "becomes"),
            Column("damage", "damage", number, right=True),
            Column("latency_ms", "time then", fixed_milliseconds, right=True),
            Column("saved_ms", "would save", fixed_milliseconds, right=True),
        ],
    )


def show_curves(document: Row) -> Iterable[RenderableType]:
    """One line for each width or rank of a place; criteria stand side by side."""
    from autocompress.cli.layout import Column, fixed_milliseconds, number, percent, rows_table

    criteria = list(dict.fromkeys(curve["criterion"] for curve in document["curves"]))
    lost = _points if document.get("is_fraction") else number
    measured = [("damage", "damage", number), ("compensated", "solved anew", number), ("drop", "lost", lost)]
    columns = [
        Column("name", "layer" if document["kind"] == "low_rank" else "channels of"),
        Column("method", "method"),
        Column("kept", "keeps", right=True),
        Column("removed", "removed", percent, right=True),
        Column("energy", "energy", percent, right=True),
        *(
            Column(f"{key}.{name}", f"{title}, {name}" if len(criteria) > 1 else title, write, right=True)
            for key, title, write in measured
            for name in criteria
        ),
        Column("saved_ms", "would save", fixed_milliseconds, right=True),
    ]
    yield rows_table(_lines(document["curves"]), columns)


def _lines(curves: Sequence[Row]) -> list[dict[str, Any]]:
    """Points as rows; those of one place at one choice under several criteria are one row."""
    lines: dict[tuple[str, str, int], dict[str, Any]] = {}
    for curve in curves:
        for point in curve["points"]:
            line = lines.setdefault((curve["name"], curve["method"], point["kept"]), _line(curve, point))
            for key in ("damage", "compensated", "drop"):
                line[key][curve["criterion"]] = point.get(key)
    return list(lines.values())


def _line(curve: Row, point: Row) -> dict[str, Any]:
    choice = point["choice"]
    kept = "x".join(map(str, choice)) if isinstance(choice, (list, tuple)) else str(point["kept"])
    return {
        "name": curve["name"],
        "method": curve["method"],
        "kept": f"{kept} of {curve['full']}",
        "removed": 1.0 - point["kept"] / curve["full"],
        "energy": point["energy"],
        "saved_ms": point["saved_ms"],
        **{key: {} for key in ("damage", "compensated", "drop")},
    }


def _points(value: float) -> str:
    return f"{100 * value:.2f} points"

"""What smaller layers lose: the curves that a search with pruning or decomposition has measured on its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autocompress.report.curves import by_place, drawn_damage, label, removed
from autocompress.report.html.charts import Figure, Trace
from autocompress.report.html.markup import Cell, Column, Markup, chart, details, element, paragraph, section, table
from autocompress.report.wording import MISSING, milliseconds, percent, plural, significant

ANCHOR, TITLE = "curves", "Curves"

Row = Mapping[str, Any]

# More lines than this cannot be told apart; the most sensitive places are drawn.
_MOST_LINES = 24
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
_COLOURS = (
    "#1f77b4",
    "#e07b00",
    "#2a9d5c",
    "#c0392b",
    "#8a4fbd",
    "#8c6d46",
    "#d6559f",
    "#6b7280",
    "#a3a013",
    "#17a2b8",
)

_COLUMNS = [
    Column("Group or layer", wide=True),
    Column("How"),
    Column("Keeps", numeric=True, hint="channels, or the rank, of all"),
    Column("Removed", numeric=True),
    Column("Damage", numeric=True, hint="at the network's output, without labels"),
    Column("Saves", numeric=True, hint="estimated time of the quantized model"),
    Column("Best recipe", hint="whether the emitted model takes this choice here"),
]


def curves(documents: Sequence[Row] | None) -> Markup | str:
    """Damage against what is taken away, per group of channels and layer; nothing where nothing was measured.

    Args:
        documents: ``curves`` of a summary.
    """
    if not documents:
        return ""
    ordered = [curve for place in by_place(documents).values() for curve in place]
    drawn = ordered[:_MOST_LINES]
    left = len(ordered) - len(drawn)
    note = (
        "How far the network's output moves when one place alone is made smaller: a group of channels (the layers that "
        "read them solved anew; one width is measured, the others follow from what those layers lose), a layer's rank, "
        "or a residual branch that goes. Only choices that the estimator prices lower than milder ones are listed; "
        "large marks are what the best recipe does."
        + (f" The {len(drawn)} most sensitive of {len(ordered)} are drawn." if left else "")
    )
    points = sum(len(curve["points"]) for curve in ordered)
    return section(
        TITLE,
        ANCHOR,
        paragraph(note, kind="note"),
        chart("damage-curves", _figure(drawn), "Damage against share removed, per group of channels and layer"),
        details(
            f"All {plural(points, 'point')}",
            table(_COLUMNS, [row for curve in ordered for row in _rows(curve)], caption="Points of all curves."),
        ),
    )


def _figure(drawn: Sequence[Row]) -> Figure:
    layout = {
        "xaxis": {"title": {"text": "channels or rank removed"}, "ticksuffix": " %", "rangemode": "tozero"},
        "yaxis": {"title": {"text": "damage"}, "type": "log", "exponentformat": "power", "dtick": 1},
        "hovermode": "closest",
    }
    return {"data": [_trace(curve, i) for i, curve in enumerate(drawn)], "layout": layout, "height": 400}


def _trace(curve: Row, number: int) -> Trace:
    points = curve["points"]
    color = _COLOURS[number % len(_COLOURS)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label(curve),
        "x": [100.0 * removed(curve, point) for point in points],
        "y": [drawn_damage(point) for point in points],
        "text": [f"keeps {point['kept']} of {curve['full']}" for point in points],
        "hovertemplate": "%{text}<br>damage %{y:.3g}<extra>%{fullData.name}</extra>",
        "line": {"color": color, "width": 1.4},
        "marker": {
            "color": color,
            "symbol": _SYMBOLS[number // len(_COLOURS) % len(_SYMBOLS)],
            "size": [13 if point["chosen"] else 6 for point in points],
        },
    }


def _rows(curve: Row) -> list[list[Cell | object]]:
    return [
        [
            Cell(element("span", curve["name"], class_="name"), curve["name"]),
            curve["method"] or f"channels, {curve['criterion']}",
            Cell(_kept(point, curve), point["kept"]),
            Cell(percent(removed(curve, point)), removed(curve, point)),
            Cell(significant(point["damage"]), point["damage"]),
            Cell(milliseconds(point["saved_ms"]), point["saved_ms"]),
            "yes" if point["chosen"] else MISSING,
        ]
        for point in curve["points"]
    ]


def _kept(point: Row, curve: Row) -> str:
    if curve["method"] == "branch":
        return MISSING
    choice = point["choice"]
    kept = "×".join(map(str, choice)) if isinstance(choice, (list, tuple)) else str(point["kept"])
    return f"{kept} of {curve['full']}"

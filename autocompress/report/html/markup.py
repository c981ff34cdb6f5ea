"""HTML from values: everything that is not ``Markup`` is escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from autocompress.store.plain import to_json

# Tables longer than this get a filter and scroll within their frame.
LONG_TABLE_ROWS = 15

_VOID = frozenset({"input", "meta"})  # elements that have no content and no end


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """A value as HTML text."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


def join(parts: Iterable[object], separator: str = "\n") -> Markup:
    """Several values as one."""
    return Markup(separator.join(escape(part) for part in parts))


def element(tag: str, *content: object, **attributes: object) -> Markup:
    """``<tag attributes>content</tag>``; attribute names take ``_`` for ``-``, and lose one at their end.

    An attribute that is None or False is left out; one that is True has no value.
    """
    start = f"<{tag}{_attributes(attributes)}>"
    return Markup(start if tag in _VOID else f"{start}{join(content, '')}</{tag}>")


def section(title: str, anchor: str, *content: object) -> Markup:
    """A part of the page that the navigation can reach."""
    return element("section", element("h2", title), *content, id=anchor)


def paragraph(*content: object, kind: str | None = None) -> Markup:
    """A paragraph."""
    return element("p", *content, class_=kind)


def details(summary: object, *content: object) -> Markup:
    """Content that opens on a click."""
    return element("details", element("summary", summary), *content)


def chart(anchor: str, figure: dict[str, Any], description: str) -> Markup:
    """A place for a plotly figure and its data; the page's script draws it."""
    data = to_json(figure).replace("<", "\\u003c")  # nothing in a string can end the script element
    return join(
        [
            element(
                "div",
                element("noscript", "The chart needs JavaScript."),
                id=anchor,
                class_="chart",
                role="img",
                aria_label=description,
            ),
            Markup(f'<script type="application/json" data-chart="{escape(anchor)}">{data}</script>'),
        ]
    )


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: heading.
        numeric: aligned right and sorted as numbers.
        hint: what the heading means, shown on hover.
        wide: whether its text is long.
    """

    title: str
    numeric: bool = False
    hint: str | None = None
    wide: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        content: what is shown.
        order: what it is sorted by; the content by default.
        share: fraction in [0, 1] that a bar behind the content shows; None for no bar.
    """

    content: object
    order: float | str | None = None
    share: float | None = None


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell | object]], *, caption: str, sortable: bool = True
) -> Markup:
    """A table; long ones get a filter.  ``caption`` says what it holds, for people who cannot see it at a glance."""
    head = element("thead", element("tr", *(_heading(column, sortable) for column in columns)))
    body = element("tbody", *(element("tr", *map(_cell, row, columns)) for row in rows))
    long = len(rows) > LONG_TABLE_ROWS
    frame = element(
        "div",
        element("table", element("caption", caption), head, body, class_="sortable" if sortable else None),
        class_="frame long" if long else "frame",
        tabindex="0" if long else None,
    )
    search = element("input", type="search", placeholder=f"Filter {len(rows)} rows", aria_label=f"Filter: {caption}")
    return join([element("div", search, class_="filter"), frame]) if long else frame


def code(text: str) -> Markup:
    """A block of text in fixed width."""
    return element("pre", element("code", text))


def json_block(value: Any) -> Markup:
    """A JSON value, indented."""
    return code(json.dumps(json.loads(to_json(value)), indent=2, ensure_ascii=False))


def _heading(column: Column, sortable: bool) -> Markup:
    content = element("button", column.title, type="button") if sortable else escape(column.title)
    return element("th", content, scope="col", class_="number" if column.numeric else None, title=column.hint)


def _cell(cell: Cell | object, column: Column) -> Markup:
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    kinds = {"number": column.numeric, "wide": column.wide, "bar": cell.share is not None}
    return element(
        "td",
        cell.content,
        class_=" ".join(kind for kind, wanted in kinds.items() if wanted) or None,
        data_order=cell.order,
        style=None if cell.share is None else f"--share:{min(max(cell.share, 0.0), 1.0):.2%}",
    )


def _attributes(attributes: dict[str, object]) -> str:
    parts = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        parts.append(f" {name}" if value is True else f' {name}="{escape(value)}"')
    return "".join(parts)

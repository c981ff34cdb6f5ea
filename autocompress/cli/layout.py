"""Documents as tables: which keys, under which titles, written how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

Write = Callable[[Any], str]

_SIZE_UNITS = ("B", "kB", "MB", "GB")
_COUNT_UNITS = ("", "k", "M", "G", "T")


@dataclass(frozen=True)
class Column:
    """One key of a document and how it is shown.

    Attributes:
        key: path of the key, with dots into nested mappings.
        title: what stands above (or beside) the value.
        write: value -> text.
        right: whether the text is aligned to the right, as numbers are.
    """

    key: str
    title: str
    write: Write = str
    right: bool = False


def rows_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], *, title: str | None = None) -> Table:
    """One line per row; columns that no row has a value for are left out."""
    from rich.table import Table
    from rich.text import Text

    listed = list(rows)
    shown = [column for column in columns if not listed or any(_value(row, column) is not None for row in listed)]
    table = Table(
        title=title, title_justify="left", box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0)
    )
    for column in shown:
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in listed:
        table.add_row(*(Text(_text(row, column)) for column in shown))
    return table


def facts_table(document: Mapping[str, Any], columns: Sequence[Column]) -> Table:
    """One line per fact, its title beside it; facts that the document lacks are left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for column in columns:
        if _value(document, column) is not None:
            table.add_row(column.title, Text(_text(document, column)))
    return table


def sentences(texts: Iterable[str]) -> list[Text]:
    """Plain sentences, without markup."""
    from rich.text import Text

    return [Text(text) for text in texts]


def milliseconds(value: float) -> str:
    """``12.345`` -> ``"12.35 ms"``; small ones in microseconds."""
    return f"{value:.4g} ms" if abs(value) >= 0.1 else f"{value * 1000:.3g} us"


def fixed_milliseconds(value: float) -> str:
    """``0.0312`` -> ``"0.031 ms"``: one unit and three decimals, so that a column can be compared by eye."""
    text = f"{value:.3f}"
    # What rounds to zero has no sign.
    return f"{text.removeprefix('-') if float(text) == 0 else text} ms"


def interval_ms(value: Sequence[float]) -> str:
    """``[1.0, 2.0]`` -> ``"1 ms to 2 ms"``."""
    return f"{milliseconds(value[0])} to {milliseconds(value[1])}"


def factor(value: float) -> str:
    """``2.0`` -> ``"2.00x"``."""
    return f"{value:.2f}x"


def interval_of_factors(value: Sequence[float]) -> str:
    """``[1.9, 2.1]`` -> ``"1.90x to 2.10x"``."""
    return f"{factor(value[0])} to {factor(value[1])}"


def percent(value: float) -> str:
    """``0.123`` -> ``"12.3 %"``."""
    return f"{100 * value:.1f} %"


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def count(value: float) -> str:
    """``3500000`` -> ``"3.50 M"``."""
    return _scaled(value, _COUNT_UNITS)


def size(value: float) -> str:
    """``14000000`` -> ``"14.0 MB"``."""
    return _scaled(value, _SIZE_UNITS)


def dimensions(value: Iterable[int]) -> str:
    """``[1, 3, 224, 224]`` -> ``"1x3x224x224"``."""
    return "x".join(str(n) for n in value)


def listing(value: Iterable[object]) -> str:
    """``["a", "b"]`` -> ``"a, b"``."""
    return ", ".join(str(item) for item in value)


def _scaled(value: float, units: Sequence[str]) -> str:
    scaled, unit = float(value), 0
    while abs(scaled) >= 1000 and unit < len(units) - 1:
        scaled, unit = scaled / 1000, unit + 1
    text = f"{scaled:.3g}" if unit else f"{scaled:g}"
    return f"{text} {units[unit]}".strip()


def _value(row: Mapping[str, Any], column: Column) -> Any:
    value: Any = row
    for key in column.key.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value == "" else value


def _text(row: Mapping[str, Any], column: Column) -> str:
    value = _value(row, column)
    return "-" if value is None else column.write(value)

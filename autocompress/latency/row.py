"""Typed fields of one JSON line, read strictly: a text is no number, and neither is ``true``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]


def parse_row(line: bytes | str) -> dict[str, Any] | None:
    """The JSON object that a line holds; None where it holds none."""
    try:
        row = json.loads(line.decode() if isinstance(line, bytes) else line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def rounded(value: float, digits: int) -> float:
    """A number with so many significant digits."""
    return float(f"{value:.{digits}g}")


def text(row: Row, name: str) -> str:
    """A text.

    Raises:
        ValueError: when the field is missing or of another type, as all functions here.
    """
    return _field(row, name, str, "a text")  # type: ignore[no-any-return]


def flag(row: Row, name: str) -> bool:
    """True or false."""
    return _field(row, name, bool, "true or false")  # type: ignore[no-any-return]


def count(row: Row, name: str, least: int = 0) -> int:
    """A whole number that is not below ``least``."""
    value = _field(row, name, int, "a whole number")
    if isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {json.dumps(value)}; it must be a whole number of at least {least}")
    return int(value)


def number(row: Row, name: str) -> float:
    """A number, finite or not: what a time or a size may be is for the caller to say."""
    value = _field(row, name, (int, float), "a number")
    if isinstance(value, bool):
        raise ValueError(f"{name} is {json.dumps(value)}, which is no number")
    return float(value)


def amount(row: Row, name: str) -> float:
    """A finite number that is not negative."""
    value = number(row, name)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is {value}; it must be finite and not negative")
    return value


def amounts(row: Row, name: str) -> dict[str, float]:
    """Finite numbers by name, none of them negative."""
    return {key: amount(_field(row, name, dict, "an object"), key) for key in _field(row, name, dict, "an object")}


def counts(row: Row, name: str) -> dict[str, int]:
    """Whole numbers of at least one by name."""
    values = _field(row, name, dict, "an object")
    return {key: count(values, key, 1) for key in values}


def mapping(row: Row, name: str) -> dict[str, Any]:
    """An object."""
    return _field(row, name, dict, "an object")  # type: ignore[no-any-return]


def _field(row: Row, name: str, kind: type | tuple[type, ...], described: str) -> Any:
    if name not in row:
        raise ValueError(f"it has no field {name!r}")
    value = row[name]
    if not isinstance(value, kind):
        raise ValueError(f"{name} has the wrong type: it must be {described}")
    return value

"""One setting of a recipe in words: numbers as people read them, long lists counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from autocompress.report.wording import significant

_SHARES = ("ratios", "global_sparsity")
"""Settings whose numbers are shares of a whole."""

_MOST_NUMBERS = 4
"""More different numbers than this are told by their range and mean."""

_COMPUTED = re.compile(r"\d+\.\d{5,}")
"""A number that nobody wrote by hand, inside a text such as "unstructured@0.5333333"."""


def setting(key: str, value: Any) -> str:
    """A setting and its value: "activation_range mse", "ratios 2 x 16.7 % + 1 x 50 %"; "" where it is off or empty."""
    if value is None or value is False or value in ("", [], {}):
        return ""
    if value is True:
        return key
    if isinstance(value, Mapping):
        return f"{key} {_counted(list(value.values()), key in _SHARES)}"
    if isinstance(value, list):
        return f"{key} {_counted(value, key in _SHARES)}"
    return f"{key} {_word(value, key in _SHARES)}"


def _counted(values: Sequence[Any], share: bool) -> str:
    if any(isinstance(value, Mapping) for value in values):
        return f"of {len(values)}"
    if any(isinstance(value, list) for value in values):
        return _counted([v[1] for v in values], share) if all(map(_is_choice, values)) else f"of {len(values)}"
    if len(set(values)) > _MOST_NUMBERS and all(map(_is_number, values)):
        low, high, mean = (_word(v, share) for v in (min(values), max(values), sum(values) / len(values)))
        return f"{len(values)} \u00d7 {low} to {high}, on average {mean}"
    numbers = all(map(_is_number, values))
    ordered = sorted(values, key=None if numbers else str)
    words = Counter(_word(value, share) for value in ordered)
    return " + ".join(f"{number} \u00d7 {word}" for word, number in words.items())


def _word(value: Any, share: bool) -> str:
    if isinstance(value, str):
        return _COMPUTED.sub(lambda found: significant(float(found[0])), value)
    if not isinstance(value, float):
        return str(value)
    if share:
        return f"{100.0 * value:.1f}".removesuffix(".0") + " %"
    return _number(value)


def _number(value: float) -> str:
    """What somebody wrote stays as it is; what was computed gets three digits."""
    written = f"{value:g}"
    return written if float(written) == value else significant(value)


def _is_choice(value: Any) -> bool:
    """Whether it is what becomes of one layer: its name, a method, and how far the method goes."""
    return isinstance(value, list) and len(value) == 3 and all(isinstance(text, str) for text in value[:2])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

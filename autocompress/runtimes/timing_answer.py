"""What a timing command prints: the last JSON object counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MOST_SHOWN = 80
_LONGEST_MS = 1e9  # eleven days; beyond it, and for NaN, something else was printed


@dataclass(frozen=True)
class TimingAnswer:
    """One answer of a timing command.

    Attributes:
        latency_ms: milliseconds of one run of the model; positive.
        minimum_ms: its fastest run, if the command said so.
        spread_ms: how much runs differ (median absolute deviation), if the command said so.
        repeats: how many runs it timed; 1 if it did not say.
    """

    latency_ms: float
    minimum_ms: float | None = None
    spread_ms: float | None = None
    repeats: int = 1

    @property
    def fastest_ms(self) -> float:
        """The fastest run that is known of."""
        return self.latency_ms if self.minimum_ms is None else self.minimum_ms


def read_answer(printed: str) -> TimingAnswer:
    """The last JSON object in a text, read as an answer.

    Raises:
        ValueError: saying what is wrong with it.
    """
    found = _last_object(printed)
    if found is None:
        shown = " ".join(printed.split())
        raise ValueError(f"it printed {shown[:_MOST_SHOWN]!r}, no JSON object" if shown else "it printed nothing")
    if "latency_ms" not in found:
        names = ", ".join(map(str, found))[:_MOST_SHOWN]
        raise ValueError(f"its JSON object has no latency_ms (only {names or 'nothing'})")
    latency_ms = _number(found, "latency_ms")
    if latency_ms is None or latency_ms <= 0:
        raise ValueError(f"latency_ms is {found['latency_ms']}, not a positive number")
    minimum_ms, spread_ms = _number(found, "minimum_ms"), _number(found, "spread_ms")
    if minimum_ms is not None and not 0 < minimum_ms <= latency_ms:
        raise ValueError(f"minimum_ms is {minimum_ms:g} where latency_ms is {latency_ms:g}")
    return TimingAnswer(latency_ms, minimum_ms, spread_ms, _repeats(found))


def _last_object(text: str) -> Mapping[str, Any] | None:
    decoder, found, at = json.JSONDecoder(), None, text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            found = value
        at = text.find("{", end)
    return found


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LONGEST_MS:
        raise ValueError(f"{name} is {str(value)[:_MOST_SHOWN]}, not a number of milliseconds")
    return float(value)


def _repeats(row: Mapping[str, Any]) -> int:
    value = row.get("repeats")
    if value is None:
        return 1
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LONGEST_MS:
        raise ValueError(f"repeats is {str(value)[:_MOST_SHOWN]}, not a whole number of runs")
    return value

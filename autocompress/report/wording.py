"""Numbers as a person reads them; one place decides digits and units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from autocompress.measurement import Interval

Unit = Literal["fraction", "dB", ""]

MISSING = "–"
MINUS = "\u2212"

# Metrics of the command line and their units; a user's own metric says so itself.
_UNITS: dict[str, Unit] = {
    "top1": "fraction",
    "top5": "fraction",
    "miou": "fraction",
    "cosine": "fraction",
    "detections": "fraction",
    "spearman": "fraction",
    "psnr": "dB",
}


def metric_unit(metric: str) -> Unit:
    """Unit of a built-in metric, found by the first word of its name; "" for others."""
    return _UNITS.get(metric.split(" ")[0], "")


@dataclass(frozen=True)
class Scale:
    """How values of one metric are shown.

    Attributes:
        unit: "fraction" values are shown as percent and their differences as points.
    """

    unit: Unit

    @property
    def factor(self) -> float:
        """What stored values are multiplied by."""
        return 100.0 if self.unit == "fraction" else 1.0

    @property
    def drop_unit(self) -> str:
        """Unit of shown differences, for axes and headings; "" where there is none."""
        return "points" if self.unit == "fraction" else self.unit

    def shown(self, stored: float | None) -> float | None:
        """A stored value or difference in the unit shown."""
        return None if stored is None or math.isnan(stored) else stored * self.factor

    def value(self, stored: float | None) -> str:
        """A value of the metric: "72.31 %", "31.42 dB", "0.1234"."""
        if self.unit == "fraction":
            return _with_unit(stored, 100.0, ".2f", " %")
        if self.unit == "dB":
            return _with_unit(stored, 1.0, ".2f", " dB")
        return _with_unit(stored, 1.0, ".4g", "")

    def drop(self, stored: float | None) -> str:
        """A difference with its sign: "+0.62 points", "-0.10 points"."""
        number = self._signed(stored)
        return number if number == MISSING or not self.drop_unit else f"{number} {self.drop_unit}"

    def amount(self, stored: float) -> str:
        """The size of a difference: "0.62 points"."""
        digits = ".2f" if self.drop_unit else ".4g"
        return f"{abs(stored) * self.factor:{digits}} {self.drop_unit}".rstrip()

    def interval(self, stored: Sequence[float | None] | Interval | None) -> str:
        """An interval of a difference: "-0.14 to +1.00 points"."""
        low, high = bounds(stored)
        text = f"{self._signed(low)} to {self._signed(high)}"
        return MISSING if low is None and high is None else f"{text} {self.drop_unit}".rstrip()

    def _signed(self, stored: float | None) -> str:
        return _with_unit(stored, self.factor, "+.2f" if self.drop_unit else "+.4g", "")


def bounds(interval: Sequence[float | None] | Interval | None) -> tuple[float | None, float | None]:
    """(low, high) of an interval in any of its forms."""
    if interval is None:
        return None, None
    low, high = (interval.low, interval.high) if isinstance(interval, Interval) else interval
    return _number(low), _number(high)


def milliseconds(value: float | None) -> str:
    """Three significant digits: "3.71 ms", "0.0652 ms"."""
    return MISSING if _number(value) is None else f"{significant(value)} ms"


def times(value: float | None) -> str:
    """A speedup: "2.05x" with a true multiplication sign."""
    return _with_unit(value, 1.0, ".2f", "\u00d7")


def times_interval(interval: Sequence[float | None] | Interval | None) -> str:
    """An interval of a speedup: "2.01 to 2.09x"."""
    low, high = bounds(interval)
    return MISSING if low is None or high is None else f"{low:.2f} to {times(high)}"


def milliseconds_interval(interval: Sequence[float | None] | Interval | None) -> str:
    """An interval of a latency: "3.51 to 4.02 ms"."""
    low, high = bounds(interval)
    return MISSING if low is None or high is None else f"{significant(low)} to {milliseconds(high)}"


def percent(fraction: float | None, digits: int = 1) -> str:
    """A share: "12.3 %"."""
    return _with_unit(fraction, 100.0, f".{digits}f", " %")


def size(n_bytes: float | None) -> str:
    """Bytes in decimal units, as targets are given: "14.2 MB"."""
    if n_bytes is None:
        return MISSING
    value, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000.0, larger
    return f"{int(n_bytes)} B" if unit == "B" else f"{significant(value)} {unit}"


def count(value: float | None) -> str:
    """A large count in short: "300 M", "1.82 G", "640"."""
    if value is None:
        return MISSING
    shown, unit = float(value), ""
    for larger in ("k", "M", "G", "T"):
        if (shown < 9999.5 and unit == "") or shown < 999.5:
            break
        shown, unit = shown / 1000.0, larger
    return f"{int(value)}" if unit == "" else f"{significant(shown)} {unit}"


def seconds(value: float | None) -> str:
    """A duration: "0.41 s", "72 s", "5 min 03 s"."""
    if _number(value) is None or value is None:
        return MISSING
    if value < 9.95:
        return f"{value:.2f} s"
    if value < 99.5:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def moment(time: datetime) -> str:
    """A time, with its zone said."""
    return time.strftime("%Y-%m-%d %H:%M UTC")


def significant(value: float | None, digits: int = 3) -> str:
    """Significant digits without an exponent between 0.001 and 100000."""
    number = _number(value)
    if number is None:
        return MISSING
    if number == 0 or math.isinf(number):
        return f"{number:g}"
    exponent = math.floor(math.log10(abs(float(f"{number:.{digits - 1}e}"))))
    if not -4 < exponent < 6:
        return f"{number:.{digits - 1}e}"
    return f"{number:.{max(0, digits - 1 - exponent)}f}"


def plural(number: int, noun: str) -> str:
    """A number with its noun: "1 trial", "3 trials"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def sentence(text: str) -> str:
    """A text with a capital letter and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith((".", "!", "?")) else ".")


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _with_unit(value: float | None, factor: float, digits: str, unit: str) -> str:
    number = _number(value)
    if number is None:
        return MISSING
    text = f"{number * factor:{digits}}"
    # A value that rounds to zero has no sign.
    text = text[1:] if text[0] in "+-" and not text.strip("+-0.") else text
    return text.replace("-", MINUS) + unit

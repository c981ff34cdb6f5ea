"""Text -> number, with units: factors, latencies, sizes, durations, accuracy drops, counts.

Every parser takes what a flag, a YAML file or a Python caller may give and either returns the one meaning it has or
raises :class:`ConfigError` with one sentence.  Parsing an already parsed value gives the same value again.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real

from autocompress.errors import ConfigError

_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_QUANTITY = re.compile(rf"({_NUMBER})\s*([^\W\d_]*|%|×)", re.UNICODE)
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z]+)\s*")

_LATENCY_MS = {
    "ns": Decimal("1e-6"),
    "us": Decimal("1e-3"),
    "µs": Decimal("1e-3"),
    "ms": Decimal(1),
    "s": Decimal(1000),
}
_SIZE_BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_DURATION_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True)
class SizeTarget:
    """How small the result must be: a factor of the baseline's size, or bytes; exactly one is set.

    Attributes:
        factor: baseline size / result size, at least 1, or None.
        size_bytes: largest size allowed, or None.
    """

    factor: float | None = None
    size_bytes: int | None = None

    def __str__(self) -> str:
        return f"{self.size_bytes}B" if self.size_bytes is not None else f"{self.factor!r}x"


def parse_speedup(value: object) -> float:
    """``2``, ``"2x"``, ``"2.5x"`` -> how many times faster than the baseline, at least 1.

    Raises:
        ConfigError: for text, zero, negative or non-finite numbers, and factors below 1.
    """
    number, unit = _split(value, "target speedup", "write 2, 2x or 2.5x")
    if unit.lower() not in ("", "x", "×"):
        raise ConfigError(f"target speedup {_shown(value)} is not a factor; write 2, 2x or 2.5x")
    return _at_least_one(float(number), value, "target speedup", "slower", "2x means twice as fast")


def parse_latency_ms(value: object) -> float:
    """``"5ms"``, ``"800us"``, ``"1.2s"`` -> milliseconds; a bare number is refused, for its unit would be a guess.

    Raises:
        ConfigError: for a missing or unknown unit and for times that are not positive and finite.
    """
    number, unit = _split(value, "target latency", "write 5ms, 800us or 1.2s")
    if not unit:
        raise ConfigError(f"target latency {_shown(value)} has no unit; write {number}ms, {number}us or {number}s")
    scale = _LATENCY_MS.get(unit.lower().replace("\u03bc", "µ"))
    if scale is None:
        raise ConfigError(f"target latency {_shown(value)} has an unknown unit '{unit}'; use s, ms, us or ns")
    return _positive(float(number * scale), value, "target latency", "write for example 5ms")


def parse_size(value: object) -> SizeTarget:
    """``"4x"`` (four times smaller), ``"10MB"``, ``"10MiB"``, ``"500kB"`` -> what it asks for.

    Raises:
        ConfigError: for a missing or unknown unit, for factors below 1 and for sizes below one byte.
    """
    if isinstance(value, SizeTarget):
        return value
    number, unit = _split(value, "target size", "write 4x, 10MB or 500kB")
    if not unit:
        raise ConfigError(
            f"target size {_shown(value)} has no unit; write {number}x for a factor or {number}MB for bytes"
        )
    if unit.lower() in ("x", "×"):
        return SizeTarget(
            factor=_at_least_one(float(number), value, "target size", "bigger", "4x means four times smaller")
        )
    scale = _SIZE_BYTES.get(unit.lower())
    if scale is None:
        raise ConfigError(
            f"target size {_shown(value)} has an unknown unit '{unit}'; use x, B, kB, MB, GB, KiB, MiB or GiB"
        )
    if not _finite(number) or number * scale < 1:
        raise ConfigError(f"target size {_shown(value)} is not a size; write for example 4x or 10MB")
    return SizeTarget(size_bytes=int(number * scale))


def parse_drop(value: object) -> float:
    """``"1%"`` -> 0.01, ``"0.2"`` -> 0.2: the accuracy that may be lost, absolute, in the metric's own unit.

    Raises:
        ConfigError: for text, negative or non-finite numbers, other units and more than 100%.
    """
    number, unit = _split(value, "max accuracy drop", "write 1%, 0.01 or 0")
    if unit not in ("", "%"):
        raise ConfigError(
            f"max accuracy drop {_shown(value)} has a unit '{unit}'; write 1%, or a number in the metric's unit"
        )
    if not _finite(number) or number < 0:
        raise ConfigError(f"max accuracy drop {_shown(value)} must be zero or more; write for example 1% or 0.01")
    if unit == "%" and number > 100:
        raise ConfigError(f"max accuracy drop {_shown(value)} is more than everything; write at most 100%")
    return abs(float(number / 100 if unit == "%" else number))


def parse_duration_s(value: object) -> float:
    """``"10m"``, ``"90s"``, ``"1h30m"`` -> seconds; a bare number is seconds.

    Raises:
        ConfigError: for anything else and for durations that are not positive and finite.
    """
    advice = "write 10m, 90s or 1h30m"
    if isinstance(value, str) and not re.fullmatch(rf"\s*{_NUMBER}\s*", value):
        return _positive(_sum_of_parts(value, advice), value, "duration", advice)
    number, _ = _split(value, "duration", advice)
    return _positive(float(number), value, "duration", advice)


def parse_positive(name: str, value: object) -> float:
    """A finite number above zero.

    Raises:
        ConfigError: for anything else.
    """
    number, unit = _split(value, name, "write a number above 0")
    if unit:
        raise ConfigError(f"{name} {_shown(value)} must be a plain number, without a unit")
    return _positive(float(number), value, name, "write a number above 0")


def parse_count(name: str, value: object, *, at_least: int = 1, at_most: int = 2**31 - 1) -> int:
    """A whole number from ``at_least`` to ``at_most``.

    Raises:
        ConfigError: for anything else.
    """
    count = None
    if isinstance(value, Integral) and not isinstance(value, bool):
        count = int(value)
    elif isinstance(value, str) and (match := _WHOLE.fullmatch(value.strip())):
        count = int(match[0])
    if count is None or not at_least <= count <= at_most:
        raise ConfigError(f"{name} {_shown(value)} must be a whole number from {at_least} to {at_most}")
    return count


def parse_counts(name: str, value: object, *, at_least: int = 1, at_most: int = 2**31 - 1) -> tuple[int, ...]:
    """``"1,2"`` -> different whole numbers from ``at_least`` to ``at_most``, in the order given.

    Raises:
        ConfigError: for anything else.
    """
    parts = value.split(",") if isinstance(value, str) else [value]
    return tuple(dict.fromkeys(parse_count(name, part, at_least=at_least, at_most=at_most) for part in parts))


def format_duration(seconds: float) -> str:
    """The shortest text that :func:`parse_duration_s` reads back as exactly ``seconds``."""
    for unit, scale in _DURATION_S.items():
        if seconds % scale == 0:
            return f"{int(seconds // scale)}{unit}"
    return f"{seconds!r}"


def _split(value: object, name: str, advice: str) -> tuple[Decimal, str]:
    """Number and unit of ``value``; the number is exact so that scaling it by a unit loses nothing."""
    if isinstance(value, bool) or not isinstance(value, (Real, str)):
        raise ConfigError(f"{name} {_shown(value)} is not a number; {advice}")
    if not isinstance(value, str):
        return Decimal(int(value) if isinstance(value, Integral) else repr(float(value))), ""
    match = _QUANTITY.fullmatch(value.strip())
    if match is None:
        raise ConfigError(f"{name} {_shown(value)} is not a number; {advice}")
    return Decimal(match[1]), match[2]


def _sum_of_parts(text: str, advice: str) -> float:
    """Seconds of text such as ``1h30m``: units from large to small, each at most once."""
    total, position, seen = Decimal(0), 0, -1
    units = list(_DURATION_S)
    lowered = text.strip().lower()
    while position < len(lowered):
        match = _DURATION_PART.match(lowered, position)
        if match is None or match[2] not in units or units.index(match[2]) <= seen:
            raise ConfigError(f"duration {_shown(text)} is not a length of time; {advice}")
        seen, position = units.index(match[2]), match.end()
        total += Decimal(match[1]) * _DURATION_S[match[2]]
    return float(total)


def _finite(number: Decimal) -> bool:
    # A Decimal may be finite and still overflow the float that it becomes.
    return number.is_finite() and math.isfinite(float(number))


def _positive(number: float, value: object, name: str, advice: str) -> float:
    if not math.isfinite(number) or number <= 0:
        raise ConfigError(f"{name} {_shown(value)} must be above zero; {advice}")
    return number


def _at_least_one(factor: float, value: object, name: str, worse: str, sense: str) -> float:
    factor = _positive(factor, value, name, sense)
    if factor < 1:
        raise ConfigError(f"{name} {_shown(value)} asks for a {worse} model; {sense}")
    return factor


def _shown(value: object) -> str:
    text = str(value) if isinstance(value, (str, Real)) else type(value).__name__
    return repr(text if len(text) <= 40 else text[:37] + "...")

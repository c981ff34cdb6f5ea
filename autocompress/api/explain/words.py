"""Numbers and names in explanations."""

from __future__ import annotations

from collections.abc import Sequence

from autocompress.latency.estimator import TABLE, OpPrice

_KINDS = {
    "conv_depthwise": "depthwise convolutions",
    "conv_pointwise": "1x1 convolutions",
    "conv_dense": "dense convolutions",
    "conv_grouped": "grouped convolutions",
    "conv_transpose": "transposed convolutions",
    "matmul": "matrix products",
    "dynamic_matmul": "dynamically quantized matrix products",
    "nbits_matmul": "weight-only matrix products",
    "elementwise": "elementwise operators",
    "conversion": "conversions",
    "layout": "changes of layout",
    "movement": "data movement",
    "view": "views",
    "normalization": "normalizations",
    "reduction": "reductions",
    "recurrent": "recurrent layers",
}


def time(us: float) -> str:
    """Three digits: "12.3 us", "1.23 ms"."""
    return f"{_digits(us / 1e3)} ms" if abs(us) >= 1e3 else f"{_digits(us)} us"


def price(found: OpPrice) -> str:
    """A price, with its 90 % interval where it is a prediction: "12.3 us", "12.3 us (forest, 11.0 to 14.1)"."""
    if found.source == TABLE:
        return time(found.latency_us)
    scale = 1e3 if found.latency_us >= 1e3 else 1.0
    low, high = _digits(found.low_us / scale), _digits(found.high_us / scale)
    return f"{time(found.latency_us)} ({found.source}, {low} to {high})"


def size(n_bytes: float) -> str:
    """Bytes in decimal units: "1.2 MB"."""
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale:
            return f"{_digits(n_bytes / scale)} {unit}"
    return f"{n_bytes:.0f} B"


def factor(value: float) -> str:
    """Two decimals: "1.34x"."""
    return f"{value:.2f}x"


def few(names: Sequence[str], most: int = 3) -> str:
    """A list that does not grow: "a, b, c and 4 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def plural(number: int, noun: str) -> str:
    """A number with its noun: "1 region", "3 regions"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def kind(family: str) -> str:
    """A kind of operator: "depthwise convolutions"."""
    return _KINDS.get(family, family.replace("_", " "))


def _digits(value: float) -> str:
    """Three significant digits, never with an exponent."""
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"

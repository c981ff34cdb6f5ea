"""The payload of the quantize step as JSON: ranges as numbers, corrected biases as arrays inside the text."""

from __future__ import annotations

import math
from typing import Any

from autocompress.passes.quantize import QuantizePayload
from autocompress.recipe.arrays import decode_array, encode_array
from autocompress.recipe.packed import Packed


def pack(payload: QuantizePayload) -> Packed:
    """Ready to be written; nothing of it needs arrays."""
    return Packed(
        {
            "ranges": {name: list(pair) for name, pair in sorted(payload.ranges.items())},
            "biases": {name: encode_array(a) for name, a in sorted(payload.biases.items())},
        }
    )


def unpack(packed: Packed) -> QuantizePayload:
    """Inverse of ``pack``.

    Raises:
        KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError: when it is malformed.
    """
    ranges = {str(name): _range(pair) for name, pair in packed.document["ranges"].items()}
    biases = {str(name): decode_array(a).astype("float32") for name, a in packed.document["biases"].items()}
    return QuantizePayload(ranges, biases)


def _range(pair: Any) -> tuple[float, float]:
    low, high = (float(end) for end in pair)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"{pair} is no range")
    return low, high

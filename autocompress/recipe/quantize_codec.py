"""The payload of the quantize step: ranges as numbers, biases as arrays inside the text, integers beside it."""

from __future__ import annotations

import math
from typing import Any

from autocompress.passes.quantize import QuantizePayload
from autocompress.recipe.arrays import decode_array, encode_array
from autocompress.recipe.packed import Packed, pack_mapping, unpack_mapping

_INTEGERS = "integers"


def pack(payload: QuantizePayload) -> Packed:
    """Ready to be written; only integers that are not the nearest ones need arrays."""
    document = {
        "ranges": {name: list(pair) for name, pair in sorted(payload.ranges.items())},
        "biases": {name: encode_array(a) for name, a in sorted(payload.biases.items())},
    }
    if not payload.integers:
        return Packed(document)
    integers = pack_mapping(_INTEGERS, dict(sorted(payload.integers.items())))
    return Packed({**document, **integers.document}, integers.arrays)


def unpack(packed: Packed) -> QuantizePayload:
    """Inverse of ``pack``.

    Raises:
        KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError: when it is malformed.
    """
    ranges = {str(name): _range(pair) for name, pair in packed.document["ranges"].items()}
    biases = {str(name): decode_array(a).astype("float32") for name, a in packed.document["biases"].items()}
    integers = unpack_mapping(_INTEGERS, packed) if _INTEGERS in packed.document else {}
    for name, values in integers.items():
        if values.dtype.kind not in "iu":
            raise ValueError(f"the weight {name!r} is no array of integers")
    return QuantizePayload(ranges, biases, integers)


def _range(pair: Any) -> tuple[float, float]:
    low, high = (float(end) for end in pair)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"{pair} is no range")
    return low, high

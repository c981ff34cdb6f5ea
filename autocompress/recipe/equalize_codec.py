"""The payload of the equalize step: names in the text, factors and shifts in arrays."""

from __future__ import annotations

import numpy as np

from autocompress.passes.equalize import EqualizePayload
from autocompress.passes.equalize.network import DoubleArray
from autocompress.recipe.packed import Packed, pack_mapping, unpack_mapping

_PARTS = ("scales", "inserted", "shifts")


def pack(payload: EqualizePayload) -> Packed:
    """Ready to be written."""
    parts = [pack_mapping(part, getattr(payload, part)) for part in _PARTS]
    document = {name: value for part in parts for name, value in part.document.items()}
    arrays = {name: array for part in parts for name, array in part.arrays.items()}
    return Packed({"unbounded": list(payload.unbounded), **document}, arrays)


def unpack(packed: Packed) -> EqualizePayload:
    """Inverse of ``pack``.

    Raises:
        KeyError, TypeError, ValueError: when it is malformed.
    """
    found = {part: _checked(part, packed) for part in _PARTS}
    return EqualizePayload(tuple(str(name) for name in packed.document["unbounded"]), **found)


def _checked(part: str, packed: Packed) -> dict[str, DoubleArray]:
    found = {}
    for name, values in unpack_mapping(part, packed).items():
        if values.ndim != 1 or not np.isfinite(values).all():
            raise ValueError(f"{part} of {name!r} is no row of finite numbers")
        found[name] = values.astype(np.float64)
    return found

"""The payload of the reconstruct step: rounded and trained weights are arrays."""

from __future__ import annotations

import numpy as np

from autocompress.passes.reconstruct import ReconstructPayload
from autocompress.recipe.packed import Packed, pack_mapping, unpack_mapping


def pack(payload: ReconstructPayload) -> Packed:
    """Ready to be written; what was gained is left out, because nothing that is built depends on it."""
    parts = [pack_mapping("integers", payload.integers), pack_mapping("biases", payload.biases)]
    if payload.trained:
        parts.append(pack_mapping("trained", payload.trained))
    document = {name: value for part in parts for name, value in part.document.items()}
    return Packed(document, {name: array for part in parts for name, array in part.arrays.items()})


def unpack(packed: Packed) -> ReconstructPayload:
    """Inverse of ``pack``.

    Raises:
        KeyError, TypeError, ValueError: when it is malformed.
    """
    integers = unpack_mapping("integers", packed)
    biases = unpack_mapping("biases", packed)
    for name, values in integers.items():
        if values.dtype.kind not in "iu":
            raise ValueError(f"the weight {name!r} is no array of integers")
    for name, values in biases.items():
        if values.dtype != np.float32 or values.ndim != 1 or not np.isfinite(values).all():
            raise ValueError(f"the bias of {name!r} is no row of finite numbers")
    trained = unpack_mapping("trained", packed) if "trained" in packed.document else {}
    for name, values in trained.items():
        if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            raise ValueError(f"the trained values of {name!r} are no finite numbers")
    return ReconstructPayload(integers, biases, trained=trained)

"""The payloads of the steps that make a stem: names in the text, numbers in arrays."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from autocompress.passes.decompose import DecomposePayload
from autocompress.passes.downsample import DownsamplePayload
from autocompress.passes.prune import PrunePayload
from autocompress.passes.recover import RecoverPayload
from autocompress.passes.sparsify import SparsifyPayload
from autocompress.recipe.packed import Arrays, Packed, pack_mapping, unpack_mapping

_PART = "arrays"


class _HasArrays(Protocol):
    def to_arrays(self) -> Any: ...


def pack(payload: _HasArrays) -> Packed:
    """A payload of decompose, prune or sparsify; why layers were left alone is not kept."""
    return pack_mapping(_PART, payload.to_arrays())


def pack_nothing(payload: DownsamplePayload) -> Packed:
    """The payload of a step that learns nothing."""
    return Packed({})


def unpack_downsample(packed: Packed) -> DownsamplePayload:
    """Inverse of ``pack_nothing``; raises ValueError where something was written after all."""
    if packed.document or packed.arrays:
        raise ValueError("a downsample step learns nothing")
    return DownsamplePayload()


def unpack_decompose(packed: Packed) -> DecomposePayload:
    """Inverse of ``pack``; raises KeyError, TypeError, ValueError or RecipeError when it is malformed."""
    return DecomposePayload.from_arrays(_finite(packed))


def unpack_prune(packed: Packed) -> PrunePayload:
    """Inverse of ``pack``; raises KeyError, TypeError, ValueError or RecipeError when it is malformed."""
    return PrunePayload.from_arrays(_finite(packed))


def unpack_sparsify(packed: Packed) -> SparsifyPayload:
    """Inverse of ``pack``; raises KeyError, TypeError, ValueError or RecipeError when it is malformed."""
    return SparsifyPayload.from_arrays(_finite(packed))


def pack_recover(payload: RecoverPayload) -> Packed:
    """Ready to be written; what happened on the way is left out, because nothing that is built depends on it."""
    return pack_mapping(_PART, payload.weights)


def unpack_recover(packed: Packed) -> RecoverPayload:
    """Inverse of ``pack_recover``; raises KeyError, TypeError or ValueError when it is malformed."""
    return RecoverPayload(_finite(packed))


def _finite(packed: Packed) -> Arrays:
    found = unpack_mapping(_PART, packed)
    for name, values in found.items():
        if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise ValueError(f"{name!r} holds something else than finite numbers")
    return found

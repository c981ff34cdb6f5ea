"""A payload in the two parts that files hold: text for people, arrays for what is too large for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Packed:
    """A payload, ready to be written.

    Attributes:
        document: JSON-ready part.
        arrays: name -> numbers that are too many for JSON.
    """

    document: dict[str, Any]
    arrays: Arrays = field(default_factory=dict)


def pack_mapping(part: str, values: Mapping[str, Array]) -> Packed:
    """The names go into the document, in order; their arrays are called ``part.0``, ``part.1`` and so on."""
    return Packed({part: list(values)}, {f"{part}.{i}": array for i, array in enumerate(values.values())})


def unpack_mapping(part: str, packed: Packed) -> dict[str, Array]:
    """Inverse of ``pack_mapping``.

    Raises:
        KeyError, TypeError, ValueError: when the document is malformed or arrays are missing.
    """
    names = packed.document[part]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{part} is no list of names")
    return {name: packed.arrays[f"{part}.{i}"] for i, name in enumerate(names)}


def digest_of(arrays: Arrays) -> str:
    """64 hex digits that change with any name, type, shape or bit of the arrays."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        little = np.asarray(arrays[name], dtype=arrays[name].dtype.newbyteorder("<"), order="C")
        found.update(f"{name}|{arrays[name].dtype.name}|{little.shape}|".encode())
        found.update(little.tobytes())
    return found.hexdigest()

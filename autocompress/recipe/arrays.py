"""Arrays inside JSON: dtype, shape and base64 of the little-endian bytes, exact to the bit."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def encode_array(array: npt.NDArray[Any]) -> dict[str, Any]:
    """JSON-ready form of an array of numbers."""
    little = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "base64": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def decode_array(row: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Inverse of ``encode_array``.

    Raises:
        KeyError, TypeError, ValueError: when ``row`` is not such a form.
    """
    dtype = np.dtype(str(row["dtype"])).newbyteorder("<")
    flat = np.frombuffer(base64.b64decode(row["base64"], validate=True), dtype)
    return flat.reshape([int(size) for size in row["shape"]]).astype(dtype.newbyteorder("="))

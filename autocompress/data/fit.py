"""Whether the shapes and dtypes of stored arrays fit what the model declares, and the cast to the model's dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.data.samples import Array, Indices, ModelInputLike
from autocompress.errors import DataError

Dimensions = Sequence[int | str | None]


def shape_fits(declared: Dimensions, found: Dimensions) -> bool:
    """Whether a shape fits a declared one; a dimension that is no int fits anything."""
    return len(declared) == len(found) and all(
        not isinstance(d, int) or not isinstance(f, int) or d == f for d, f in zip(declared, found, strict=True)
    )


def shape_text(shape: Dimensions) -> str:
    """A shape for a person: (n, 3, 224, 224)."""
    sizes = ", ".join("?" if size is None else str(size) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"


def declared_text(model_input: ModelInputLike) -> str:
    """The declared shape with the sample axis written n, whatever the model calls it."""
    return shape_text(("n", *model_input.shape[1:])) if model_input.shape else "()"


def model_dtype(model_input: ModelInputLike) -> np.dtype[Any]:
    """The numpy dtype of a model input.

    Raises:
        DataError: when numpy has no such dtype, or it is text.
    """
    try:
        dtype = np.dtype(model_input.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "fiub":
        raise DataError(f"The model's input '{model_input.name}' takes {model_input.dtype}, which is not supported.")
    return dtype


def dtype_problem(stored: np.dtype[Any], wanted: np.dtype[Any]) -> str | None:
    """Why arrays of one dtype cannot be fed as another; None when they can (values are checked when read)."""
    if stored.kind not in "fiub":
        return f"holds {stored}, which is no number"
    if stored.kind == "f" and wanted.kind in "iub":
        return f"holds {stored} but the model takes {wanted}; store whole numbers (for example .astype('{wanted}'))"
    return None


def cast_checked(rows: Array, wanted: np.dtype[Any], label: str, indices: Indices) -> Array:
    """The rows in the model's dtype, contiguous.

    Raises:
        DataError: when a value is NaN or infinite (also after narrowing), or outside the range of an integer dtype.
    """
    if wanted.kind in "iu" and rows.dtype.kind in "iu" and not np.can_cast(rows.dtype, wanted):
        limits = np.iinfo(wanted)
        bad = (rows < limits.min) | (rows > limits.max)
        if bad.any():
            raise DataError(f"{label} holds values outside {wanted} at sample {first_bad(bad, indices)}.")
    if wanted.kind == "b" and rows.dtype.kind in "iu" and (bad := (rows != 0) & (rows != 1)).any():
        raise DataError(f"{label} holds values other than 0 and 1 at sample {first_bad(bad, indices)}.")
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.ascontiguousarray(rows, dtype=wanted)
    check_finite(cast, label, indices)
    return cast


def check_finite(rows: npt.NDArray[Any], label: str, indices: Indices) -> None:
    """Checks that floats are finite.

    Raises:
        DataError: naming the array and the first sample with NaN or Inf.
    """
    if rows.dtype.kind != "f" or np.isfinite(rows).all():
        return
    bad = ~np.isfinite(rows)
    what = "NaN" if np.isnan(rows).any() else "Inf"
    raise DataError(f"{label} holds {what} at sample {first_bad(bad, indices)}: remove or repair that sample.")


def first_bad(bad: npt.NDArray[Any], indices: Indices) -> int:
    """Original index of the first sample with a True anywhere; ``bad`` has shape (len(indices), ...)."""
    return int(np.asarray(indices)[int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))])

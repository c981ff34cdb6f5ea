"""Class labels: what counts as such, and whether they are within the model's classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.data.samples import Array
from autocompress.errors import DataError

IGNORED_LABEL = 255
"""Pixels of segmentation maps with this label (and negative ones) are not scored, as is the custom."""


def as_classes(labels: npt.NDArray[Any]) -> npt.NDArray[np.int64] | None:
    """Class numbers of shape (n,) from (n,), (n, 1) or one-hot (n, C) labels; None when the labels are something else.

    Floats count when all of them are whole numbers.
    """
    if labels.ndim == 2 and labels.shape[1] > 1:
        one_hot = np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()
        return labels.argmax(axis=1) if one_hot else None
    if labels.ndim == 0 or labels.size != len(labels) or labels.dtype.kind not in "fiub":
        return None
    flat = labels.reshape(-1)
    if flat.dtype.kind == "f" and not (np.isfinite(flat).all() and np.array_equal(flat, np.rint(flat))):
        return None
    return flat.astype(np.int64)


def check_labels(labels: Array, classes: int, *, maps: bool = False) -> None:
    """Checks that labels are within 0 .. classes - 1.

    Args:
        labels: class numbers.
        classes: how many classes the model's output has.
        maps: the labels are per pixel, where 255 and negative ones mean "not scored".

    Raises:
        DataError: naming the first label outside, and saying when the labels look as if they began at 1.
    """
    values = np.asarray(labels)
    bad = values >= classes if maps else (values < 0) | (values >= classes)
    if maps:
        bad &= values != IGNORED_LABEL
    if not bad.any():
        return
    first = int(np.argmax(bad.reshape(len(values), -1).any(axis=1)))
    example = values[bad].flat[0]
    text = f"Label {example} at sample {first} is outside the model's {classes} classes, 0 to {classes - 1}"
    if values.min() == 1 and values.max() == classes:
        raise DataError(f"{text}: the labels count from 1; subtract 1.")
    raise DataError(f"{text}.")

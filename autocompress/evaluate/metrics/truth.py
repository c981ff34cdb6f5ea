"""What an output and the labels look like: the facts that metrics are chosen by."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.data.labels import IGNORED_LABEL, as_classes

_PIXEL_PEAKS = {"uint8": 255.0, "uint16": 65535.0}


def class_count(output: npt.NDArray[Any]) -> int | None:
    """C of an output (n, C) or (n, C, 1, 1); 1 for (n,) and (n, 1); None when it holds no class scores."""
    sizes = [size for size in output.shape[1:] if size != 1]
    return None if len(sizes) > 1 else (sizes[0] if sizes else 1)


def binary_threshold(output: npt.NDArray[Any]) -> float:
    """0.5 when all scores are within [0, 1] (probabilities), else 0 (logits)."""
    return 0.5 if output.size and output.min() >= 0 and output.max() <= 1 else 0.0


def same_shape(output: npt.NDArray[Any], labels: npt.NDArray[Any]) -> bool:
    """Whether a sample's labels have the shape of its output, dimensions of 1 aside."""
    return _squeezed(output) == _squeezed(labels)


def _squeezed(array: npt.NDArray[Any]) -> tuple[int, ...]:
    return tuple(size for size in array.shape[1:] if size != 1)


def is_class_labels(labels: npt.NDArray[Any]) -> bool:
    """Whether the labels are one class number per sample (or one-hot)."""
    return as_classes(labels) is not None


def is_label_map(labels: npt.NDArray[Any], output: npt.NDArray[Any]) -> bool:
    """Whether the labels are maps (n, H, W) or (n, 1, H, W) of class numbers that the output can be scored by."""
    if labels.dtype.kind not in "iub" or not (labels.ndim == 3 or (labels.ndim == 4 and labels.shape[1] == 1)):
        return False
    if output.ndim == 3:
        return output.dtype.kind in "iu"
    if output.ndim != 4:
        return False
    # One channel of scores is a mask, and only maps of 0 and 1 go with it; others are grey images.
    return output.shape[1] > 1 or bool(np.isin(labels, (0, 1, IGNORED_LABEL)).all())


def is_target(output: npt.NDArray[Any], labels: npt.NDArray[Any]) -> bool:
    """Whether the labels are what the output should be, element by element (images, vectors; not single numbers)."""
    whole = labels.dtype.kind == "f" or labels.ndim > 2
    return whole and labels.size > len(labels) and same_shape(output, labels)


def pixel_scale(output: npt.NDArray[Any], labels: npt.NDArray[Any]) -> tuple[float, float, bool]:
    """(peak, factor for the labels, whether these are images) for PSNR.

    uint8 labels of a model whose outputs stay near 0..1 are divided by 255.  Float labels within 0..1 or 0..255 are
    images with that peak; other labels have their own range as peak.
    """
    top = _PIXEL_PEAKS.get(str(labels.dtype))
    if top is not None:
        in_unit_range = float(np.percentile(np.abs(output), 99)) <= 4.0
        return (1.0, 1.0 / top, True) if in_unit_range else (top, 1.0, True)
    low, high = float(labels.min()), float(labels.max())
    if low >= 0 and high <= 1:
        return 1.0, 1.0, True
    if low >= 0 and 2 < high <= 255:
        return 255.0, 1.0, True
    return value_range(labels), 1.0, False


def value_range(values: npt.NDArray[Any]) -> float:
    """Range (max - min), or the largest magnitude for constants, or 1 for zeros."""
    low, high = float(values.min()), float(values.max())
    return high - low or abs(high) or 1.0

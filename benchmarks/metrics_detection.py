"""Mean average precision of an object detector, COCO style, from the raw output of a YOLOX head.

Average precision: detections of a class in falling order of score are right when their box overlaps a still unmatched
true box of that class enough; precision, made non-increasing, is averaged at the recalls 0, 0.01, ..., 1
(Lin et al., "Microsoft COCO: Common Objects in Context", 2014, and its evaluation server).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STRIDES = (8, 16, 32)
SCORE_AT_LEAST = 0.01
SUPPRESS_ABOVE_IOU = 0.65
DETECTIONS_PER_IMAGE = 100
RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Detections:
    """Boxes found in one image, best first.

    Attributes:
        boxes: corners x1, y1, x2, y2 in pixels of the network's input, shape (k, 4).
        scores: shape (k,).
        classes: shape (k,).
    """

    boxes: Floats
    scores: Floats
    classes: npt.NDArray[np.int64]


def decode_yolox(raw: npt.NDArray[Any]) -> Detections:
    """Detections of one image before suppression, best first.

    Args:
        raw: shape (cells, 5 + classes): centre offset, log size, objectness, class probabilities; the cells of the
            grids of ``STRIDES`` one after the other, row by row.  The network's input is square.
    """
    raw = raw.astype(np.float64)
    corner, stride = _cells(_side(len(raw)))
    centre, half = (raw[:, :2] + corner) * stride, np.exp(raw[:, 2:4]) * stride / 2
    scores = raw[:, 5:] * raw[:, 4:5]
    cell, classes = np.nonzero(scores > SCORE_AT_LEAST)
    best = np.argsort(-scores[cell, classes], kind="stable")
    cell, classes = cell[best], classes[best]
    boxes = np.concatenate([centre[cell] - half[cell], centre[cell] + half[cell]], axis=1)
    return Detections(boxes, scores[cell, classes], classes)


def suppress(found: Detections) -> Detections:
    """The detections that overlap no better one of their class by more than ``SUPPRESS_ABOVE_IOU``."""
    kept: list[int] = []
    left = np.arange(len(found.scores))
    while len(left) and len(kept) < DETECTIONS_PER_IMAGE:
        best, left = left[0], left[1:]
        kept.append(int(best))
        overlaps = iou(found.boxes[best][None], found.boxes[left])[0] > SUPPRESS_ABOVE_IOU
        left = left[~(overlaps & (found.classes[left] == found.classes[best]))]
    return Detections(found.boxes[kept], found.scores[kept], found.classes[kept])


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of every box of ``a``, shape (n, 4), with every box of ``b``, shape (m, 4)."""
    top_left, bottom_right = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(bottom_right - top_left, 0.0, None).prod(axis=2)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b))
    union = area_a[:, None] + area_b[None, :] - shared
    overlap: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def mean_average_precision(images: list[tuple[Detections, Floats]], iou_at_least: float = 0.5) -> float:
    """Mean over the classes that occur of their average precision, a fraction.

    Args:
        images: (detections, true boxes) of each image; true boxes of shape (k, 5): class, x1, y1, x2, y2.
        iou_at_least: overlap from which a detection counts.

    Raises:
        ValueError: when no image has a true box.
    """
    present = np.unique(np.concatenate([true[:, 0] for _, true in images]))
    if not len(present):
        raise ValueError("mean average precision needs at least one true box")
    return float(np.mean([_average_precision(images, int(c), iou_at_least) for c in present]))


def _average_precision(images: list[tuple[Detections, Floats]], of_class: int, iou_at_least: float) -> float:
    scores, right, total = [np.empty(0)], [np.empty(0, bool)], 0
    for found, true in images:
        mine, boxes = found.classes == of_class, true[true[:, 0] == of_class, 1:]
        total += len(boxes)
        if not mine.any():
            continue
        scores.append(found.scores[mine])
        right.append(_matches(found.boxes[mine], boxes, iou_at_least))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hits = np.concatenate(right)[order].cumsum()
    precision = hits / np.arange(1, len(hits) + 1)
    ceiling = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(hits / total, RECALLS, side="left")
    return float(np.append(ceiling, 0.0)[reached].mean())


def _matches(found: Floats, true: Floats, iou_at_least: float) -> npt.NDArray[np.bool_]:
    """Which of the boxes found, best first, take a true box that none before them took."""
    overlap = iou(found, true)
    right = np.zeros(len(found), bool)
    for row in range(len(found)):
        column = int(overlap[row].argmax()) if len(true) else -1
        if column >= 0 and overlap[row, column] >= iou_at_least:
            right[row] = True
            overlap[:, column] = -1.0
    return right


def _side(cells: int) -> int:
    """Height and width in pixels of the input whose grids have so many cells in all."""
    return round(math.sqrt(cells / sum(stride**-2 for stride in STRIDES)))


def _cells(side: int) -> tuple[Floats, Floats]:
    """Column and row of every cell, shape (cells, 2), and its stride, shape (cells, 1)."""
    corners, strides = [], []
    for stride in STRIDES:
        row, column = np.mgrid[: side // stride, : side // stride]
        corners.append(np.stack([column.ravel(), row.ravel()], axis=1))
        strides.append(np.full((row.size, 1), stride))
    return np.concatenate(corners).astype(np.float64), np.concatenate(strides).astype(np.float64)

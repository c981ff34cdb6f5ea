"""How far two outputs of a detector differ, where one tensor holds numbers of boxes and scores side by side.

Such an output has thousands of places, and only at the few where something is found do the numbers mean anything: all
others are thrown away by the scores.  So, with s the confidences (of each class at each place; times the objectness
where there is one) and w = max_class s of the original, two kinds of columns are compared, each by its lost deviance:

- scores: the Bernoulli divergence KL(s0 || s), summed over all places and classes, over that of the constant rates of
  the classes, KL(s0 || mean s0).  Scores below ``FLOOR`` count as that: they are never drawn;
- each number: sum w (y - y0)^2 / sum w (y0 - mean_w y0)^2.

Both are the deviance that a model leaves unexplained, as a part of that of a constant (McCullagh and Nelder,
"Generalized Linear Models", 1989, section 2.3), for a Bernoulli and for a normal distribution: 0 for the original, 1
for what knows nothing of its samples.  The formulas work on numpy arrays and on torch tensors alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FLOOR = 0.01
SAMPLES_TO_LOOK_AT = 8

_RARE = 0.1  # mean of a column of scores: most places hold no object
_PEAK = 0.1  # something is found somewhere
_GATE_CORRELATION = 0.25  # of objectness with the largest class score; of one class with the others it is near 0
_FAR = (-0.25, 1.5)  # what only boxes go beyond: images that are made may overshoot 0..1 a little
_FEWEST_PLACES = 16
_SMALL = 1e-9  # divergence per place where the same is found in all samples
_AXES = {3: (2, 1), 4: (1,)}  # dimensions -> where columns may lie; the last axis of images is a place

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DetectionLayout:
    """Which columns of an output are what.

    Attributes:
        axis: of the columns.
        numbers: columns that are no scores: boxes, angles, masks.
        scores: columns of class scores, or the only score.
        objectness: column that multiplies the scores, or None.
    """

    axis: int
    numbers: tuple[int, ...]
    scores: tuple[int, ...]
    objectness: int | None

    def rows(self, output: Any) -> Any:
        """A numpy array or torch tensor of shape (places of all samples, columns)."""
        columns = output.shape[self.axis]
        return output.swapaxes(self.axis, -1).reshape(-1, columns)

    def confidences(self, rows: Any) -> Any:
        """Of shape (places, scores), from ``rows``."""
        scores = rows[:, list(self.scores)]
        return scores if self.objectness is None else scores * rows[:, self.objectness : self.objectness + 1]


def detection_layout(output: npt.NDArray[Any]) -> DetectionLayout | None:
    """The layout of a detector's output, told from the values that the original gives; None for all other outputs.

    Scores are columns of positive numbers up to 1 that are small on average; beside them stands a column that goes far
    beyond 0..1, as no class score, image or mask does.

    Args:
        output: of some samples, of shape (n, places, columns), (n, columns, places) or (n, columns, h, w).
    """
    layouts = (_layout(rows, axis) for axis, rows in _views(output))
    return next((layout for layout in layouts if layout is not None), None)


def may_hold_detections(output: npt.NDArray[Any]) -> bool:
    """Whether some column stays within 0..1, so that looking at more samples is worth it."""
    return any(_within(rows).any() for _, rows in _views(output))


def _views(output: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """(axis of the columns, values of shape (places, columns)) for each way to read an output."""
    axes = _AXES.get(output.ndim, ()) if output.dtype.kind == "f" else ()
    for axis in axes:
        columns = output.shape[axis]
        rows = np.swapaxes(output, axis, -1).reshape(-1, columns)
        if columns > 1 and len(rows) >= _FEWEST_PLACES * len(output):
            yield axis, rows


def _within(rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.asarray((rows.min(0) >= 0) & (rows.max(0) <= 1))


def _layout(rows: npt.NDArray[Any], axis: int) -> DetectionLayout | None:
    bounded = _within(rows)
    if not bounded.any() or (rows.min() >= _FAR[0] and rows.max() <= _FAR[1]):
        return None
    # What follows a ReLU may be small and rare too, but is zero at most places, which a sigmoid or softmax never is.
    candidates = np.flatnonzero(bounded)
    values = rows[:, candidates]
    scores = candidates[(values.mean(0) <= _RARE) & ((values > 0).mean(0) > 0.5)]
    if not len(scores):
        return None
    objectness = _objectness(rows, scores)
    numbers = tuple(int(c) for c in np.setdiff1d(np.arange(rows.shape[1]), scores))
    left = scores if objectness is None else scores[1:]
    layout = DetectionLayout(axis, numbers, tuple(map(int, left)), objectness)
    return layout if layout.confidences(rows).max() >= _PEAK else None


def _objectness(rows: npt.NDArray[Any], scores: npt.NDArray[np.int64]) -> int | None:
    """The first score, where it is high when the largest of the others is: one class excludes others instead."""
    if len(scores) < 2:
        return None
    first, others = rows[:, scores[0]].astype(np.float64), rows[:, scores[1:]].max(1).astype(np.float64)
    if not (first.std() and others.std()):
        return None
    return int(scores[0]) if np.corrcoef(first, others)[0, 1] >= _GATE_CORRELATION else None


def deviances(layout: DetectionLayout, original: Any, changed: Any, xp: Any) -> tuple[Any, Any]:
    """Sums over all places: the divergence of all scores, and the weighted squared error of each number.

    Args:
        layout: of both outputs.
        original: of any number of samples.
        changed: of the same shape.
        xp: the module of both: numpy or torch, whose functions of one name are used.
    """
    y0, y = layout.rows(original), layout.rows(changed)
    confidences = layout.confidences(y0)
    p, q = confidences.clip(FLOOR, 1 - FLOOR), layout.confidences(y).clip(FLOOR, 1 - FLOOR)
    differ = p != q  # few do: nearly all are at the floor
    p, q = p[differ], q[differ]
    divergence = (p * xp.log(p / q) + (1 - p) * xp.log((1 - p) / (1 - q))).sum()
    numbers = list(layout.numbers)
    weights = xp.amax(confidences, -1)
    return divergence, (weights[:, None] * (y[:, numbers] - y0[:, numbers]) ** 2).sum(0)


def bounded(ratio: Any) -> FloatArray:
    """Lost parts of variances or deviances; what is worse than a constant (above 1) counts less and less, up to 2."""
    return np.asarray(np.where(ratio > 1.0, 2.0 - 1.0 / np.maximum(ratio, 1.0), ratio))


class ConstantDeviances:
    """What the best constants would leave, gathered batch by batch from the original's outputs.

    Attributes:
        places: seen so far.

    Args:
        layout: of the outputs.
    """

    def __init__(self, layout: DetectionLayout) -> None:
        self._layout = layout
        self.places = 0
        self._entropy = 0.0
        self._scores = np.zeros(len(layout.scores))
        self._weight = 0.0
        self._total = np.zeros(len(layout.numbers))
        self._squares = np.zeros(len(layout.numbers))

    def add(self, original: npt.NDArray[Any]) -> None:
        """Takes in the outputs of some samples."""
        rows = self._layout.rows(original)
        confidences = self._layout.confidences(rows)
        numbers = rows[:, list(self._layout.numbers)].astype(np.float64)
        weights = confidences.max(-1).astype(np.float64)
        bounded = confidences.astype(np.float64).clip(FLOOR, 1 - FLOOR)
        alive = bounded[bounded > FLOOR]
        self.places += len(rows)
        self._entropy += float(_entropy(alive).sum()) + (bounded.size - alive.size) * float(_entropy(FLOOR))
        self._scores += bounded.sum(0)
        self._weight += float(weights.sum())
        self._total += weights @ numbers
        self._squares += weights @ np.square(numbers)

    @property
    def scores(self) -> float:
        """Sum over places and classes of KL(s0 || mean s0); never 0."""
        rates = self._scores / self.places
        return max(self.places * float(_entropy(rates).sum()) - self._entropy, _SMALL * self.places)

    @property
    def numbers(self) -> FloatArray:
        """Weighted sum of squares around the weighted mean, per number; never 0."""
        sums = self._squares - np.square(self._total) / self._weight
        # Sums of squares leave rounding noise where a number is constant: such a one is judged by its magnitude.
        sums = np.where(sums <= 1e-12 * self._squares, self._squares, sums)
        return np.asarray(np.maximum(sums, 1e-10 * float(sums.max(initial=0.0)) or 1.0))


def _entropy(p: Any) -> FloatArray:
    return np.asarray(-p * np.log(p) - (1 - p) * np.log(1 - p))

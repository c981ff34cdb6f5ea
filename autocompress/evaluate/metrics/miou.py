"""miou: mean over classes of intersection over union, over all pixels of all samples.

Classes that do not occur in the truth are left out of the mean: on a subset, one stray pixel of an absent class would
count as much as a whole class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from autocompress.data.labels import IGNORED_LABEL, check_labels
from autocompress.evaluate.metrics.metric import FloatArray, Outputs, RowMetric


@dataclass(frozen=True, kw_only=True)
class Miou(RowMetric):
    """Mean IoU; rows hold, per class, pixels that agree, pixels predicted, and true pixels.

    Outputs are (n, C, h, w) scores, (n, 1, h, w) scores of one class against the background, or (n, h, w) class
    numbers.  Scores of another size than the labels are resized bilinearly (pixel centres at half steps).

    Attributes:
        classes: number of classes.
        threshold: for (n, 1, h, w): 0 for logits, 0.5 for probabilities.
    """

    name: ClassVar[str] = "miou"
    is_fraction: ClassVar[bool] = True
    per_sample: ClassVar[bool] = False
    continuous: ClassVar[bool] = False

    classes: int
    threshold: float = 0.0

    def rows(self, outputs: Outputs, truth: Outputs) -> FloatArray:
        """See ``RowMetric.rows``; k is 3 * classes."""
        prediction, target = next(self.pairs(outputs, truth))
        if self.needs_labels:
            true = target.reshape(len(target), *target.shape[-2:]).astype(np.int64)
            check_labels(true, self.classes, maps=True)
        else:
            true = self._decide(target, target.shape[-2:])
        predicted = self._decide(prediction, true.shape[-2:])
        return np.stack([self._count(p, t) for p, t in zip(predicted, true, strict=True)])

    def finish(self, rows: FloatArray) -> float:
        """See ``RowMetric.finish``; 0 when no pixel is scored."""
        agree, predicted, true = rows.sum(axis=0).reshape(3, self.classes)
        present = true > 0
        if not present.any():
            return 0.0
        return float((agree[present] / (predicted + true - agree)[present]).mean())

    def _decide(self, output: npt.NDArray[Any], size: tuple[int, ...]) -> npt.NDArray[np.int64]:
        if output.ndim == 3:
            return output.astype(np.int64)
        scores = resize_bilinear(output, (size[0], size[1]))
        decided = scores.argmax(axis=1) if scores.shape[1] > 1 else scores[:, 0] > self.threshold
        return decided.astype(np.int64)

    def _count(self, predicted: npt.NDArray[np.int64], true: npt.NDArray[np.int64]) -> FloatArray:
        scored = (true >= 0) & (true < self.classes) & (true != IGNORED_LABEL)
        p, t = predicted[scored], true[scored]
        inside = p[(p >= 0) & (p < self.classes)]
        counts = [np.bincount(v, minlength=self.classes) for v in (t[p == t], inside, t)]
        return np.concatenate(counts).astype(np.float64)


def resize_bilinear(images: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Images of shape (b, c, h, w) at another size, pixel centres at half steps, edges repeated."""
    if images.shape[2:] == size:
        return images
    down, across = (_weights(images.shape[2], size[0]), _weights(images.shape[3], size[1]))
    return np.asarray(down @ images.astype(np.float32) @ across.T)


def _weights(have: int, want: int) -> npt.NDArray[np.float32]:
    centers = np.clip((np.arange(want) + 0.5) * have / want - 0.5, 0, have - 1)
    low = np.minimum(centers.astype(int), max(have - 2, 0))
    high = np.minimum(low + 1, have - 1)
    weights = np.zeros((want, have), np.float32)
    np.add.at(weights, (np.arange(want), low), 1.0 - (centers - low))
    np.add.at(weights, (np.arange(want), high), centers - low)
    return weights

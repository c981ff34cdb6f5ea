"""top1 and top5: whether the true class is among the k highest outputs.

Ties go to the lower class, as argmax does, so that a quantized model gains nothing from equal outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from autocompress.data.labels import as_classes, check_labels
from autocompress.errors import DataError
from autocompress.evaluate.metrics.metric import FloatArray, ScoreMetric

OutputKind = Literal["scores", "binary", "classes"]


@dataclass(frozen=True, kw_only=True)
class Top1(ScoreMetric):
    """1 where the highest output is the true class, else 0.

    Attributes:
        kind: "scores" (n, C), "binary" (n, 1) (one score, above ``threshold`` means class 1) or "classes" (n,)
            (whole numbers: the model itself decides).
        classes: number of classes.
        threshold: for binary outputs: 0 for logits, 0.5 for probabilities.
    """

    name: ClassVar[str] = "top1"
    is_fraction: ClassVar[bool] = True
    continuous: ClassVar[bool] = False
    k: ClassVar[int] = 1

    kind: OutputKind = "scores"
    classes: int
    threshold: float = 0.0

    def score(self, prediction: npt.NDArray[Any], target: npt.NDArray[Any]) -> FloatArray:
        """See ``ScoreMetric.score``."""
        true = self._true_classes(target)
        if self.kind != "scores":
            return np.asarray(self._decide(prediction) == true, dtype=np.float64)
        scores = prediction.reshape(len(prediction), -1)
        own = scores[np.arange(len(scores)), true][:, np.newaxis]
        lower = np.arange(scores.shape[1]) < true[:, np.newaxis]
        ahead = (scores > own) | ((scores == own) & lower)
        return np.asarray(ahead.sum(axis=1) < self.k, dtype=np.float64)

    def _true_classes(self, target: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        if not self.needs_labels:
            return self._decide(target)
        true = as_classes(target)
        if true is None:
            raise DataError(f"The labels must be class numbers for {self.name}.")
        check_labels(true, self.classes)
        return true

    def _decide(self, output: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        values = output.reshape(len(output), -1)
        if self.kind == "scores":
            return np.asarray(values.argmax(axis=1), dtype=np.int64)
        decided = values[:, 0] > self.threshold if self.kind == "binary" else values[:, 0]
        return np.asarray(decided, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Top5(Top1):
    """1 where the true class is among the five highest outputs, else 0."""

    name: ClassVar[str] = "top5"
    k: ClassVar[int] = 5

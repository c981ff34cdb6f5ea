"""detections: how much of a detector's scores and boxes is kept, against the original model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from autocompress.data.detections import ConstantDeviances, DetectionLayout, bounded, detection_layout, deviances
from autocompress.evaluate.metrics.cosine import Cosine
from autocompress.evaluate.metrics.metric import FloatArray, Outputs, RowMetric


@dataclass(frozen=True)
class DetectionScale:
    """By what deviances of one output are measured.

    Attributes:
        layout: of the output.
        scores: divergence of the scores of one sample from constant rates.
        numbers: weighted variance of each number, per sample.
    """

    layout: DetectionLayout
    scores: float
    numbers: tuple[float, ...]

    def kept(self, prediction: npt.NDArray[Any], target: npt.NDArray[Any]) -> float:
        """Part of the deviance of one sample, of shape (1, ...), that is kept: 1 for the original itself."""
        divergence, squares = deviances(self.layout, target, prediction, np)
        lost = bounded(np.asarray([float(divergence) / self.scores]))[0]
        return 1.0 - float(lost + bounded(squares / np.array(self.numbers)).mean()) / 2.0


@dataclass(frozen=True, kw_only=True)
class Detections(RowMetric):
    """Deviance that is kept (see ``data.detections``): scores and boxes alike, where the original finds something.

    1 is the original, 0 what knows nothing of its samples, and below 0 is worse than that.  A cosine of such outputs
    hardly changes when every box is lost, because most of thousands of places are background.

    Attributes:
        scales: of the outputs that hold detections; others (masks, say) are judged by their cosine.
    """

    name: ClassVar[str] = "detections"
    is_fraction: ClassVar[bool] = True
    scales: Mapping[str, DetectionScale]

    def rows(self, outputs: Outputs, truth: Outputs) -> FloatArray:
        """See ``RowMetric.rows``; k is 1."""
        pairs = zip(self.outputs, self.pairs(outputs, truth), strict=True)
        return np.asarray(np.stack([self._scores(name, *pair) for name, pair in pairs]).mean(axis=0)[:, None])

    def _scores(self, name: str, prediction: npt.NDArray[Any], target: npt.NDArray[Any]) -> FloatArray:
        scale = self.scales.get(name)
        if scale is None:
            return Cosine(outputs=(name,), needs_labels=False).score(prediction, target)
        return np.array([scale.kept(prediction[i : i + 1], target[i : i + 1]) for i in range(len(prediction))])


def detection_scales(outputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, DetectionScale]:
    """Scales of those outputs that hold detections, told from the original's values on some samples."""
    found = {}
    for name, values in outputs.items():
        layout = detection_layout(values)
        if layout is not None:
            constant = ConstantDeviances(layout)
            constant.add(values)
            numbers = tuple(map(float, constant.numbers / len(values)))
            found[name] = DetectionScale(layout, constant.scores / len(values), numbers)
    return found

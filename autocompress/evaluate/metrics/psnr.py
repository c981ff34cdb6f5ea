"""psnr: the peak signal-to-noise ratio in dB, 10 log10(peak^2 / mse), per sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from autocompress.evaluate.metrics.metric import FloatArray, ScoreMetric, flat

LARGEST_PSNR_DB = 100.0
"""Identical outputs have this score instead of infinity."""


@dataclass(frozen=True, kw_only=True)
class Psnr(ScoreMetric):
    """PSNR of each sample, at most 100 dB.

    Attributes:
        peak: the largest possible value: 1 or 255 for images, else the range of the truth.
        label_scale: factor that brings labels to the scale of the outputs (1/255 for uint8 labels of a model in 0..1).
        clips: outputs are cut to 0..peak first, as when an image is stored.
    """

    name: ClassVar[str] = "psnr"

    peak: float
    label_scale: float = 1.0
    clips: bool = False

    def score(self, prediction: npt.NDArray[Any], target: npt.NDArray[Any]) -> FloatArray:
        """See ``ScoreMetric.score``."""
        values = flat(prediction)
        if self.clips:
            values = np.clip(values, 0.0, self.peak)
        mse = np.square(values - flat(target) * self.label_scale).mean(axis=1)
        smallest = self.peak**2 * 10 ** (-LARGEST_PSNR_DB / 10)
        return np.asarray(10.0 * np.log10(self.peak**2 / np.maximum(mse, smallest)))

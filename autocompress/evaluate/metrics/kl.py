"""kl: the Kullback-Leibler divergence of the model's class distribution from the true one, in nats.

KL(p || q) = sum_c p_c log(p_c / q_c), p the truth (the original's distribution, or soft labels), q the model's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from autocompress.evaluate.metrics.metric import FloatArray, ScoreMetric

_SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Kl(ScoreMetric):
    """KL divergence, mean over the positions of a sample where there are several.

    Classes run along axis 1, along the last axis for outputs of three dimensions (n, positions, C); (n, 1) is the
    logit or probability of class 1 of two.

    Attributes:
        probabilities: the model gives probabilities; otherwise logits.
    """

    name: ClassVar[str] = "kl"
    higher_is_better: ClassVar[bool] = False

    probabilities: bool = False

    def score(self, prediction: npt.NDArray[Any], target: npt.NDArray[Any]) -> FloatArray:
        """See ``ScoreMetric.score``."""
        log_q = log_distribution(prediction, self.probabilities)
        log_p = log_distribution(target, self.probabilities or self.needs_labels)
        return kl_divergence(log_p, log_q)


def kl_divergence(log_p: FloatArray, log_q: FloatArray) -> FloatArray:
    """Mean over positions of KL(p || q), from log-probabilities of shape (b, positions, C); shape (b,)."""
    return np.asarray((np.exp(log_p) * (log_p - log_q)).sum(axis=2).mean(axis=1))


def log_distribution(output: npt.NDArray[Any], probabilities: bool) -> FloatArray:
    """Log-probabilities of shape (b, positions, C) from logits or probabilities."""
    values = _classes_last(output)
    if values.shape[2] == 1:
        other = 1.0 - values if probabilities else np.zeros_like(values)
        values = np.concatenate([other, values], axis=2)
    if probabilities:
        values = np.log(np.maximum(values, _SMALLEST_PROBABILITY))
    values = values - values.max(axis=2, keepdims=True)
    return np.asarray(values - np.log(np.exp(values).sum(axis=2, keepdims=True)))


def looks_like_probabilities(output: npt.NDArray[Any]) -> bool:
    """Whether every distribution in ``output`` is non-negative and sums to 1 (within 1 %)."""
    values = _classes_last(output)
    if values.min() < 0 or values.max() > 1.01:
        return False
    return values.shape[2] == 1 or bool(np.allclose(values.sum(axis=2), 1.0, atol=0.01))


def _classes_last(output: npt.NDArray[Any]) -> FloatArray:
    if output.ndim == 1:
        output = output[:, np.newaxis]
    if output.ndim != 3:
        output = np.moveaxis(output, 1, -1)
    return output.reshape(len(output), -1, output.shape[-1]).astype(np.float64)

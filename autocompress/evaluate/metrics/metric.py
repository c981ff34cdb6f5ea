"""What a metric is.

A metric turns each sample into a row of numbers and all rows into one value.  The rows of a per-sample metric are its
scores and the value is their mean, which makes paired statistics exact; the rows of a set metric (miou, spearman) are
what the value can be recomputed from, so that it is cheap on any subset.  Truth is either the labels or, without them,
the original model's own outputs ("fidelity").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Outputs = Mapping[str, npt.NDArray[Any]]

LABELS = "labels"


@dataclass(frozen=True, kw_only=True)
class RowMetric(ABC):
    """Base of the built-in metrics.

    Attributes:
        name: as the user writes it.
        higher_is_better: direction.
        is_fraction: whether 1 % of it means 0.01.
        per_sample: whether rows are scores and the value their mean.
        continuous: whether scores vary smoothly, so that equal scores mean equal outputs.
        outputs: model outputs that are judged.
        needs_labels: truth is the labels; otherwise the original model's outputs of the same names.
        notices: sentences that a person should read.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    is_fraction: ClassVar[bool] = False
    per_sample: ClassVar[bool] = True
    continuous: ClassVar[bool] = True

    outputs: tuple[str, ...]
    needs_labels: bool
    notices: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """For reports: the name and what it is measured against."""
        return f"{self.name} against {'the labels' if self.needs_labels else 'the original model'}"

    @abstractmethod
    def rows(self, outputs: Outputs, truth: Outputs) -> FloatArray:
        """Rows of shape (b, k) of a batch of b samples.

        Args:
            outputs: model outputs by name, shape (b, ...).
            truth: ``{"labels": ...}`` or the original model's outputs, shape (b, ...).

        Raises:
            DataError: when labels do not fit.
        """

    def finish(self, rows: FloatArray) -> float:
        """The metric's value from rows of shape (n, k)."""
        return float(rows[:, 0].mean())

    def pairs(self, outputs: Outputs, truth: Outputs) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """(model output, truth) for each output that is judged."""
        for name in self.outputs:
            yield outputs[name], truth[LABELS if self.needs_labels else name]


class ScoreMetric(RowMetric):
    """A per-sample metric whose score of several outputs is the mean of their scores."""

    def rows(self, outputs: Outputs, truth: Outputs) -> FloatArray:
        """See ``RowMetric.rows``; k is 1."""
        scores = [self.score(prediction, target) for prediction, target in self.pairs(outputs, truth)]
        mean: FloatArray = np.stack(scores).mean(axis=0, keepdims=True).T
        return mean

    @abstractmethod
    def score(self, prediction: npt.NDArray[Any], target: npt.NDArray[Any]) -> FloatArray:
        """Scores of shape (b,) of one output of shape (b, ...)."""


def flat(array: npt.NDArray[Any]) -> FloatArray:
    """Of shape (b, everything else), in float64."""
    return array.reshape(len(array), -1).astype(np.float64)

"""The outcome of running one model over samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from autocompress.measurement import MeasuredAccuracy

FloatArray = npt.NDArray[np.float64]
Verdict = Literal["worse", "fine"]


@dataclass(frozen=True)
class Evaluation:
    """A metric's value on some samples and what paired statistics need; small, and picklable.

    Attributes:
        metric: name of the metric.
        value: in the metric's own unit.
        indices: samples that were evaluated, in order (fewer than asked for when stopped early).
        scores: one per sample, shape (n,), for per-sample metrics; None for set metrics.
        rows: what a built-in set metric is computed from, shape (n, k); else None.
        left_out: values of a user's set metric with one group of samples left out at a time; else None.
        verdict: why the evaluation stopped early, None when it ran to the end.
        seconds: wall time.
        metric_seconds: of which in one call of a user's function.
    """

    metric: str
    value: float
    indices: npt.NDArray[np.int64] = field(repr=False)
    scores: FloatArray | None = field(default=None, repr=False)
    rows: FloatArray | None = field(default=None, repr=False)
    left_out: FloatArray | None = field(default=None, repr=False)
    verdict: Verdict | None = None
    seconds: float = 0.0
    metric_seconds: float = 0.0

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.indices)

    @property
    def stopped_early(self) -> bool:
        """Whether samples were left that were not needed any more."""
        return self.verdict is not None

    @property
    def accuracy(self) -> MeasuredAccuracy:
        """Metric, value and n as a measurement."""
        return MeasuredAccuracy(self.metric, self.value, self.n)

    def first(self, n: int) -> FloatArray:
        """The first n scores, to pair with a candidate that was stopped early.

        Raises:
            ValueError: when there are no scores per sample.
        """
        if self.scores is None:
            raise ValueError(f"{self.metric} has no scores per sample")
        return self.scores[:n]

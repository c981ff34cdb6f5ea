"""How a quantized model is judged: accuracy beside the original on the same samples, speed, size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from evalset_inputs import UserInputs
from independent_check import Answers, paired_drop, time_both

from ptq_methods.case import Case

Indices = npt.NDArray[np.int64]

DRAWS = 50
_DEVIATIONS = 1.96


class Judge:
    """Judges models of one case against its original.

    Args:
        case: whose samples are used.
        threads: of the runtime while it answers the samples; timing always has one.
        timing_s: seconds of interleaved timing.
    """

    def __init__(self, case: Case, *, threads: int, timing_s: float) -> None:
        self._case = case
        self._threads = threads
        self._timing_s = timing_s
        self._original = Answers(case.judged.model, case.judged, threads)
        self._everything = np.arange(int(case.held[-1]) + 1)
        self._drawn: dict[int, list[float]] = {}

    def verdict(self, model: Path) -> dict[str, Any]:
        """Drop on all samples and on those that no method has seen, speedup and size ratio."""
        inputs = self._case.judged
        emitted = Answers(model, inputs, self._threads)
        return {
            "accuracy": self._drop(emitted, self._everything),
            "accuracy_held": self._drop(emitted, self._case.held),
            "timing": time_both(inputs.model, model, inputs, self._timing_s),
            "size_ratio": inputs.model.stat().st_size / model.stat().st_size,
        }

    def _drop(self, emitted: Answers, indices: Indices) -> dict[str, Any]:
        drop = paired_drop(self._original.score(indices), emitted.score(indices))
        if drop["drop_ci95"] is None:
            half = _DEVIATIONS * self._drop_deviation(emitted, indices)
            drop["drop_ci95"] = [drop["drop"] - half, drop["drop"] + half]
        return drop

    def _drop_deviation(self, emitted: Answers, indices: Indices) -> float:
        """Standard deviation of the paired drop over bootstrap draws of whole groups of samples."""
        draws = bootstrap_draws(self._case.judged, indices)
        if len(indices) not in self._drawn:
            self._drawn[len(indices)] = [self._original.score(draw).value for draw in draws]
        drops = [b - emitted.score(d).value for b, d in zip(self._drawn[len(indices)], draws, strict=True)]
        return float(np.std([d for d in drops if math.isfinite(d)], ddof=1))


def bootstrap_draws(inputs: UserInputs, indices: Indices, draws: int = DRAWS) -> list[Indices]:
    """Samples drawn with replacement; samples of one group (the two sentences of a pair) come together.

    Args:
        inputs: whose data may hold ``groups``, of shape (n,).
        indices: samples to draw from.
        draws: number of draws, always the same ones.
    """
    with np.load(inputs.data, allow_pickle=False) as archive:
        groups = archive["groups"][indices] if "groups" in archive.files else np.arange(len(indices))
    order = np.argsort(groups, kind="stable")
    members = np.split(indices[order], np.flatnonzero(np.diff(groups[order])) + 1)
    random = np.random.default_rng(0)
    chosen = [random.integers(len(members), size=len(members)) for _ in range(draws)]
    return [np.concatenate([members[i] for i in draw]) for draw in chosen]

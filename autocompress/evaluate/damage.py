"""What a change does to the network's outputs, without labels: the measure that layers are ranked by.

Top-1 on a few samples is far too coarse for that.  Measures, all 0 for an unchanged model:

- relative error, per output: for each channel c, sum |y - y0|^2 / sum |y0 - mean(y0)|^2 over samples and positions (the
  fraction of the variance that is lost), then the mean over channels.  Channels are weighed alike so that an output
  that holds boxes and scores in one tensor is judged by both, whatever their scales.  A ratio r above 1 (worse than
  giving the mean) counts 2 - 1/r, so that no channel outweighs all others;
- for outputs of detectors, which hold boxes and scores in one tensor, the mean of two such ratios instead: one of all
  scores and the mean over numbers of boxes, both at the places where something is found (``data.detections``);
- KL divergence of the class distribution, for outputs that look like class scores (n, C): see ``metrics.kl``.

The channel axis is the last one of (n, C), and the shorter one of axis 1 and the last for more dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.data.detections import (
    SAMPLES_TO_LOOK_AT,
    ConstantDeviances,
    DetectionLayout,
    bounded,
    detection_layout,
    deviances,
    may_hold_detections,
)
from autocompress.data.samples import Indices, SampleSource
from autocompress.errors import MetricError
from autocompress.evaluate.batches import ModelSession, run_batches
from autocompress.evaluate.metrics.kl import kl_divergence, log_distribution, looks_like_probabilities
from autocompress.evaluate.metrics.truth import class_count
from autocompress.evaluate.reference import Reference

_NEGLIGIBLE_VARIANCE = 1e-10
"""A channel with less variance than this share of the largest is a constant with rounding noise."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Damage:
    """How far outputs moved.

    Attributes:
        relative_error: fraction of variance (of detections: of deviance) lost, per output.
        kl: nats, per output that looks like class scores.
        n: number of samples.
    """

    relative_error: dict[str, float]
    kl: dict[str, float]
    n: int

    @property
    def value(self) -> float:
        """One number to rank by: the mean relative error over outputs."""
        return float(np.mean(list(self.relative_error.values())))


@dataclass
class _Channels:
    """Running sums per channel of one output."""

    squared_error: FloatArray
    total: FloatArray
    squares: FloatArray
    elements: int = 0
    kl: float = 0.0

    @classmethod
    def zeros(cls, count: int) -> _Channels:
        return cls(np.zeros(count), np.zeros(count), np.zeros(count))


class _Detections:
    """Running sums of one output that holds detections."""

    def __init__(self, layout: DetectionLayout) -> None:
        self._layout = layout
        self._constant = ConstantDeviances(layout)
        self._scores = 0.0
        self._numbers = np.zeros(len(layout.numbers))

    def add(self, original: npt.NDArray[Any], changed: npt.NDArray[Any]) -> None:
        self._constant.add(original)
        divergence, squares = deviances(self._layout, original, changed, np)
        self._scores += float(divergence)
        self._numbers += squares

    @property
    def lost(self) -> float:
        scores = bounded(self._scores / self._constant.scores)
        return float((scores + bounded(self._numbers / self._constant.numbers).mean()) / 2)


def measure_damage(
    session: ModelSession, source: SampleSource, indices: Indices, reference: Reference, *, batch_size: int = 1
) -> Damage:
    """Damage of a candidate on samples whose original outputs are recorded.

    Raises:
        CandidateFailed: when an output holds NaN or Inf.
        MetricError: when there is no float output, or the candidate's outputs have other shapes.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    sums: dict[str, _Channels] = {}
    scores: dict[str, bool] = {}
    detections = _detections(reference, wanted)
    for batch, outputs in run_batches(session, source, wanted, batch_size):
        for name, original in reference.outputs(batch).items():
            if original.dtype.kind != "f":
                continue
            changed = outputs.get(name)
            if changed is None or changed.shape != original.shape:
                raise MetricError(f"Output '{name}' is missing or has another shape than the original's.")
            if name in detections:
                detections[name].add(original, changed)
                continue
            if name not in sums:
                sums[name] = _Channels.zeros(_by_channel(original).shape[1])
                if (class_count(original) or 0) > 1:
                    scores[name] = looks_like_probabilities(original)
            _add(sums[name], original, changed)
            if name in scores:
                log_p, log_q = (log_distribution(output, scores[name]) for output in (original, changed))
                sums[name].kl += float(kl_divergence(log_p, log_q).sum())
    if not sums and not detections:
        raise MetricError("Damage cannot be measured: the model has no output of floats.")
    errors = {name: _relative_error(channels) for name, channels in sums.items()}
    errors.update((name, found.lost) for name, found in detections.items())
    return Damage(errors, {name: sums[name].kl / len(wanted) for name in scores}, len(wanted))


def _detections(reference: Reference, indices: Indices) -> dict[str, _Detections]:
    """Sums for the outputs that hold detections, as told from some samples."""
    names = [name for name, output in reference.outputs(indices[:1]).items() if may_hold_detections(output)]
    some = reference.outputs(indices[:SAMPLES_TO_LOOK_AT], names)
    layouts = {name: detection_layout(output) for name, output in some.items()}
    return {name: _Detections(layout) for name, layout in layouts.items() if layout is not None}


def _add(sums: _Channels, original: npt.NDArray[Any], changed: npt.NDArray[Any]) -> None:
    y0, y = _by_channel(original), _by_channel(changed)
    sums.squared_error += np.square(y - y0).sum(axis=0)
    sums.total += y0.sum(axis=0)
    sums.squares += np.square(y0).sum(axis=0)
    sums.elements += len(y0)


def _relative_error(sums: _Channels) -> float:
    variance = np.maximum(sums.squares - np.square(sums.total) / sums.elements, 0.0)
    # Sums of squares leave rounding noise where a channel is constant: such a channel is judged by its magnitude.
    flat = variance <= 1e-12 * sums.squares
    variance = np.where(flat, sums.squares, variance)
    floor = _NEGLIGIBLE_VARIANCE * float(variance.max(initial=0.0))
    moved = sums.squared_error > 0
    if not moved.any():
        return 0.0
    ratio = np.where(moved, sums.squared_error / np.maximum(variance, floor or 1.0), 0.0)
    return float(bounded(ratio).mean())


def _by_channel(output: npt.NDArray[Any]) -> FloatArray:
    """Of shape (elements per channel, channels), float64."""
    if output.ndim <= 1:
        return output.reshape(-1, 1).astype(np.float64)
    axis = 1 if output.shape[1] <= output.shape[-1] or output.ndim == 2 else output.ndim - 1
    return np.moveaxis(output, axis, -1).reshape(-1, output.shape[axis]).astype(np.float64)

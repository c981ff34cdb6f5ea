"""Batches of one tensor in, statistics out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.calibration.channels import ChannelStatistics, channel_statistics
from autocompress.calibration.exact_sum import ExactSum
from autocompress.calibration.histogram import FloatArray, HistogramBuilder, Scratch
from autocompress.calibration.statistics import TensorStatistics
from autocompress.errors import DataError


class TensorObserver:
    """Accumulates the statistics of one tensor; memory does not grow with the number of batches.

    Args:
        name: of the tensor, for messages.
        channel_axis: axis to keep per-channel statistics of (negative counts from the end, 0 is the batch), or None.
        scratch: working memory to share with other observers of the same thread.
    """

    def __init__(self, name: str, channel_axis: int | None = None, scratch: Scratch | None = None) -> None:
        self._name = name
        self._axis = channel_axis
        self._builder = HistogramBuilder(scratch or Scratch())
        self._channels: ChannelStatistics | None = None
        self._channels_usable = channel_axis is not None
        self._count = self._samples = self._zeros = 0
        self._minimum, self._maximum = np.inf, -np.inf
        self._sum = self._sum_of_squares = 0.0
        self._sum_of_minima = self._sum_of_maxima = ExactSum()

    def update(self, batch: npt.NDArray[Any], samples: int) -> None:
        """Takes in one batch.

        Args:
            batch: floating-point, any shape.  Where its first axis is a multiple of ``samples``, it is taken apart
                into that many samples; otherwise it counts as one sample.
            samples: samples in the batch.

        Raises:
            DataError: when the batch holds NaN or Inf.
        """
        if batch.size == 0:
            return
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(batch, np.float32)
        parts = samples if values.ndim and values.shape[0] % samples == 0 else 1
        rows = values.shape[0] // parts if values.ndim else 1
        for i in range(parts):
            self._observe(values[i * rows : (i + 1) * rows] if parts > 1 else values)

    def statistics(self) -> TensorStatistics:
        """The statistics of all batches so far."""
        if self._count == 0:
            return TensorStatistics()
        return TensorStatistics(
            count=self._count,
            samples=self._samples,
            zeros=self._zeros,
            minimum=self._minimum,
            maximum=self._maximum,
            sum=self._sum,
            sum_of_squares=self._sum_of_squares,
            sum_of_minima=self._sum_of_minima,
            sum_of_maxima=self._sum_of_maxima,
            histogram=self._builder.histogram(),
            channels=self._channels,
        )

    def _observe(self, sample: FloatArray) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            channels = self._sample_channels(sample)
        if channels is None:
            low, high = float(sample.min()), float(sample.max())
        else:
            low, high = float(channels.minimum.min()), float(channels.maximum.max())
        # NaN survives min and max, so two comparisons vouch for every value.
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(
                f"tensor {self._name!r} holds NaN or Inf for a calibration sample; "
                "check the preprocessing of the data, and that the model itself is sound"
            )
        flat = sample.reshape(-1)
        if channels is None:
            self._sum += float(flat.sum(dtype=np.float64))
            self._sum_of_squares += float(np.einsum("i,i->", flat, flat, dtype=np.float64))
        else:
            self._sum += float(channels.sum.sum())
            self._sum_of_squares += float(channels.sum_of_squares.sum())
        self._count += flat.size
        self._samples += 1
        self._zeros += flat.size - int(np.count_nonzero(flat != 0))
        self._minimum, self._maximum = min(self._minimum, low), max(self._maximum, high)
        self._sum_of_minima = self._sum_of_minima.plus(low)
        self._sum_of_maxima = self._sum_of_maxima.plus(high)
        self._builder.update(flat, max(-low, high))

    def _sample_channels(self, sample: FloatArray) -> ChannelStatistics | None:
        if not self._channels_usable or self._axis is None:
            return None
        axis = self._axis + sample.ndim if self._axis < 0 else self._axis
        found = channel_statistics(sample, axis) if 0 < axis < sample.ndim else None
        if self._channels is None or found is None:
            self._channels = found
        else:
            self._channels = self._channels.merge(found)
        self._channels_usable = self._channels is not None
        return found


def statistics_of(array: npt.NDArray[Any], name: str = "tensor") -> TensorStatistics:
    """Statistics of a single array, taken as one sample without channels.

    Raises:
        DataError: when the array holds NaN or Inf.
    """
    observer = TensorObserver(name)
    observer.update(array, 1)
    return observer.statistics()

"""Extremes and moments of every channel of a tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autocompress.calibration.histogram import DoubleArray, FloatArray


@dataclass(frozen=True, eq=False)
class ChannelStatistics:
    """What each channel of a tensor held.

    Attributes:
        axis: which axis is the channel axis, not negative (axis 0 is the batch).
        count: values per channel.
        minimum: float32 of shape (channels,), exact.
        maximum: float32 of shape (channels,), exact.
        sum: float64 of shape (channels,).
        sum_of_squares: float64 of shape (channels,).
    """

    axis: int
    count: int
    minimum: FloatArray
    maximum: FloatArray
    sum: DoubleArray
    sum_of_squares: DoubleArray

    @property
    def mean(self) -> DoubleArray:
        """Mean of each channel, of shape (channels,)."""
        return self.sum / self.count

    @property
    def second_moment(self) -> DoubleArray:
        """Mean square of each channel, of shape (channels,)."""
        return self.sum_of_squares / self.count

    @property
    def variance(self) -> DoubleArray:
        """Population variance of each channel, of shape (channels,)."""
        return np.maximum(self.second_moment - self.mean**2, 0.0)

    @property
    def abs_max(self) -> FloatArray:
        """Largest magnitude of each channel, of shape (channels,)."""
        return np.maximum(-self.minimum, self.maximum)

    def merge(self, other: ChannelStatistics) -> ChannelStatistics | None:
        """Statistics of both sets of samples; None where their channels do not correspond."""
        if self.axis != other.axis or self.sum.shape != other.sum.shape:
            return None
        return ChannelStatistics(
            axis=self.axis,
            count=self.count + other.count,
            minimum=np.minimum(self.minimum, other.minimum),
            maximum=np.maximum(self.maximum, other.maximum),
            sum=self.sum + other.sum,
            sum_of_squares=self.sum_of_squares + other.sum_of_squares,
        )


def channel_statistics(values: FloatArray, axis: int) -> ChannelStatistics:
    """Extremes and moments per index of ``axis`` of one non-empty array of any rank above ``axis``."""
    channels = values.shape[axis]
    outer = int(np.prod(values.shape[:axis], dtype=np.int64))
    view = values.reshape(outer, channels, -1)
    if view.shape[2] == 1:
        # Channels last: one pass over whole rows.
        rows = view[:, :, 0]
        low, high = rows.min(axis=0), rows.max(axis=0)
        total = rows.sum(axis=0, dtype=np.float64)
        squares = np.einsum("ij,ij->j", rows, rows, dtype=np.float64)
    else:
        low, high = view.min(axis=2).min(axis=0), view.max(axis=2).max(axis=0)
        total = view.sum(axis=2, dtype=np.float64).sum(axis=0)
        squares = np.einsum("oci,oci->oc", view, view, dtype=np.float64).sum(axis=0)
    return ChannelStatistics(axis, values.size // channels, low, high, total, squares)

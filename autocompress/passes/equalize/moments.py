"""What a pass needs to know about the inputs of a layer to judge an error in its weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autocompress.calibration.channels import ChannelStatistics
from autocompress.errors import DataError
from autocompress.passes.equalize.network import DoubleArray


@dataclass(frozen=True, eq=False)
class InputMoments:
    """Moments of a tensor with K channels.

    Attributes:
        mean_abs: mean magnitude of each channel, of shape (K,).
        second_moment: mean of products x_i x_j, of shape (K, K), or of squares, of shape (K,).
    """

    mean_abs: DoubleArray
    second_moment: DoubleArray

    @classmethod
    def from_samples(cls, rows: npt.NDArray[np.floating]) -> InputMoments:
        """Moments of rows of shape (n, K), such as the tokens of some samples.

        Raises:
            DataError: there are no rows, or they hold NaN or Inf.
        """
        values = np.asarray(rows, np.float64)
        if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
            raise DataError(f"moments need finite rows of shape (n, channels), not an array of shape {values.shape}")
        return cls(np.abs(values).mean(axis=0), values.T @ values / len(values))

    @classmethod
    def from_channels(cls, channels: ChannelStatistics) -> InputMoments:
        """Moments from calibration: channels are taken as uncorrelated, and their root mean square as magnitude."""
        return cls(np.sqrt(channels.second_moment), channels.second_moment)

    def power(self, differences: DoubleArray) -> float:
        """Mean of |D x|^2 for a matrix D of shape (outputs, K)."""
        if self.second_moment.ndim == 1:
            return float(np.einsum("oi,i->", differences**2, self.second_moment))
        return float(np.einsum("oi,oi->", differences @ self.second_moment, differences))

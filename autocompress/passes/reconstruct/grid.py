"""A weight as matrices, and the integers that it may take.

    weight ~ (integer - zero point) * scale,    low <= integer <= high

all of shape (groups, O/g, K), as in ``layer``; scales and zero points are spread over what shares them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from autocompress.calibration.scheme import spread
from autocompress.passes.quantize.weights import QuantizedWeight
from autocompress.passes.reconstruct.layer import FloatArray, from_matrices, to_matrices


@dataclass(frozen=True, eq=False)
class WeightGrid:
    """A weight and its grid.

    Attributes:
        weight: the float weight.
        scales: positive.
        zero_points: whole numbers.
        nearest: the integers that the quantization step chose.
        low: lowest integer in use.
        high: highest integer.
    """

    weight: FloatArray
    scales: FloatArray
    zero_points: FloatArray
    nearest: FloatArray
    low: int
    high: int

    @classmethod
    def of(cls, node: NodeProto, weight: npt.NDArray[np.generic], quantized: QuantizedWeight) -> WeightGrid:
        """The grid of a layer's weight.

        Args:
            node: the layer.
            weight: its float weight.
            quantized: the same in integers.
        """
        scheme = quantized.scheme

        def matrices(values: npt.NDArray[np.generic]) -> FloatArray:
            whole = np.broadcast_to(np.asarray(values, np.float32), weight.shape)
            return to_matrices(node, whole).astype(np.float32, copy=False)

        return cls(
            weight=matrices(weight),
            scales=matrices(spread(np.asarray(quantized.scales, np.float32), weight.shape, scheme)),
            zero_points=matrices(spread(np.asarray(quantized.zero_points, np.float32), weight.shape, scheme)),
            nearest=matrices(quantized.values),
            low=scheme.qmin,
            high=scheme.qmax,
        )

    def rounded(self, weight: FloatArray, columns: slice | npt.NDArray[np.intp] = slice(None)) -> FloatArray:
        """The nearest integers to other weights, or to some of their columns (K)."""
        steps = weight / self.scales[..., columns]
        integers: FloatArray = np.clip(np.rint(steps) + self.zero_points[..., columns], self.low, self.high)
        return integers

    def real(self, integers: FloatArray, columns: slice | npt.NDArray[np.intp] = slice(None)) -> FloatArray:
        """The weights that integers stand for."""
        result: FloatArray = (integers - self.zero_points[..., columns]) * self.scales[..., columns]
        return result

    def stored(self, node: NodeProto, integers: FloatArray, quantized: QuantizedWeight) -> npt.NDArray[np.generic]:
        """Integers as the quantization step stores them."""
        return from_matrices(node, integers.astype(quantized.values.dtype), quantized.values.shape)

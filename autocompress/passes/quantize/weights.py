"""Quantizes the weights of units, once per scheme: activations do not change them, so trials share the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from autocompress.calibration.scheme import Scheme, dequantize, quantize
from autocompress.calibration.weights import weight_scales
from autocompress.graph.index import GraphIndex, attribute
from autocompress.passes.quantize.config import QuantizeConfig
from autocompress.passes.quantize.units import Unit

FloatArray = npt.NDArray[np.float32]

# Integer biases stay well inside int32, because the accumulator adds products on top of them.
BIAS_LIMIT = 2.0**30


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """A weight in integers.

    Attributes:
        values: integers, of the shape of the float weight.
        scales: float32, of shape () per tensor or (channels,) per output channel.
        zero_points: of the dtype of ``values`` and the shape of ``scales``.
        axis: output-channel axis, or None per tensor.
    """

    values: npt.NDArray[np.generic]
    scales: FloatArray
    zero_points: npt.NDArray[np.generic]
    axis: int | None

    @property
    def scheme(self) -> Scheme:
        """Its integer type, symmetry and granularity."""
        return Scheme(
            dtype=str(self.values.dtype),
            symmetric=self.values.dtype == np.int8,
            granularity="per_tensor" if self.axis is None else "per_channel",
            axis=self.axis,
        )


class WeightQuantizer:
    """Quantizes weights on demand and remembers them by weight and scheme; units may share a weight."""

    def __init__(self, index: GraphIndex) -> None:
        self._index = index
        self._done: dict[tuple[str, int, str, str, str], QuantizedWeight] = {}

    def quantized(self, unit: Unit, config: QuantizeConfig) -> QuantizedWeight:
        """The integer weight of ``unit`` under ``config``."""
        assert unit.weight is not None
        axis = channel_axis(self._index.nodes[unit.name])
        key = (unit.weight, axis, config.weight_dtype, config.weight_granularity, config.weight_range)
        if key not in self._done:
            self._done[key] = self._quantize(unit, config, axis)
        return self._done[key]

    def rounding_error(self, unit: Unit, weight: QuantizedWeight) -> FloatArray:
        """``weight - dequantized``, summed over the kernel positions, of shape (channels, inputs of one group)."""
        error = self._float(unit) - dequantize(weight.values, weight.scales, weight.zero_points, weight.scheme)
        summed: FloatArray = error.sum(axis=tuple(range(2, error.ndim)), dtype=np.float32)
        return summed if channel_axis(self._index.nodes[unit.name]) == 0 else summed.T

    def widened(
        self,
        unit: Unit,
        weight: QuantizedWeight,
        channels: npt.NDArray[np.bool_],
        bias: FloatArray,
        input_scale: float,
    ) -> QuantizedWeight:
        """Coarser scales for the channels whose bias would not fit int32 (their weights are close to zero).

        Args:
            unit: the unit.
            weight: its integer weight.
            channels: which channels, of shape (channels,).
            bias: of shape (channels,).
            input_scale: scale of the unit's input.
        """
        if not channels.any():
            return weight
        needed = np.abs(bias.astype(np.float64)) / (input_scale * BIAS_LIMIT)
        if weight.axis is None:
            scales = np.array(max(float(weight.scales), float(needed.max())), np.float32)
        else:
            scales = np.where(channels, np.maximum(weight.scales, needed), weight.scales).astype(np.float32)
        values = quantize(self._float(unit), scales, weight.zero_points, weight.scheme)
        return QuantizedWeight(values, scales, weight.zero_points, weight.axis)

    def _quantize(self, unit: Unit, config: QuantizeConfig, axis: int) -> QuantizedWeight:
        weight = self._float(unit)
        per_channel = config.weight_granularity == "per_channel"
        scheme = Scheme(
            dtype=config.weight_dtype,
            symmetric=config.weight_dtype == "int8",
            granularity=config.weight_granularity,
            axis=axis if per_channel else None,
        )
        scales, zero_points = weight_scales(weight, scheme, config.weight_range, name=str(unit.weight))
        values = quantize(weight, scales, zero_points, scheme)
        return QuantizedWeight(values, scales, zero_points, scheme.axis)

    def _float(self, unit: Unit) -> FloatArray:
        assert unit.weight is not None
        return self._index.weight(unit.weight).astype(np.float32, copy=False)


def channel_axis(node: onnx.NodeProto) -> int:
    """Axis of the output channels in the weight of a Conv, ConvTranspose (of one group), Gemm or MatMul."""
    if node.op_type in ("ConvTranspose", "MatMul"):
        return 1
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 0


def conv_groups(node: onnx.NodeProto) -> int:
    """Groups of a convolution; 1 for every other node."""
    return int(str(attribute(node, "group", 1))) if node.op_type == "Conv" else 1

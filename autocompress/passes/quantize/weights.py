"""Quantizes the weights of units, once per scheme: activations do not change them, so trials share the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx

from autocompress.calibration.scheme import Scheme, dequantize, quantize
from autocompress.calibration.weights import weight_scales
from autocompress.errors import RecipeError
from autocompress.graph.index import GraphIndex, attribute
from autocompress.passes.quantize.config import QuantizeConfig
from autocompress.passes.quantize.precisions import INT4_WEIGHT_ONLY, INT8, INT8_DYNAMIC, WEIGHT_ONLY
from autocompress.passes.quantize.units import Unit

FloatArray = npt.NDArray[np.float32]

# Integer biases stay well inside int32, because the accumulator adds products on top of them.
BIAS_LIMIT = 2.0**30


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """A weight in integers.

    Attributes:
        values: integers, of the shape of the float weight; 4-bit ones are held one per byte.
        scales: float32, of shape () per tensor, (channels,) per output channel, or the weight's with
            ``ceil(size / block_size)`` along the axis per block.
        zero_points: of the dtype of ``values`` and the shape of ``scales``.
        axis: of the output channels, of the inputs per block, or None per tensor.
        bits: of each integer.
        block_size: inputs that share a scale, or None.
    """

    values: npt.NDArray[np.generic]
    scales: FloatArray
    zero_points: npt.NDArray[np.generic]
    axis: int | None
    bits: int = 8
    block_size: int | None = None

    @property
    def scheme(self) -> Scheme:
        """Its integer type, symmetry and granularity."""
        signed = self.values.dtype.kind == "i"
        return Scheme(
            dtype=f"{'int' if signed else 'uint'}{self.bits}",
            symmetric=signed,
            granularity="per_tensor" if self.axis is None else "per_block" if self.block_size else "per_channel",
            axis=self.axis,
            block_size=self.block_size,
        )


class WeightQuantizer:
    """Quantizes weights on demand and remembers them by weight and scheme; units may share a weight."""

    def __init__(
        self,
        index: GraphIndex,
        integers: Mapping[str, npt.NDArray[np.generic]] | None = None,
        *,
        partial_blocks: bool = False,
    ) -> None:
        """Stores what is needed.

        Args:
            index: the graph.
            integers: weight -> integers that take the place of the nearest ones.
            partial_blocks: whether weight-only kernels take a last block that is shorter; without that, and everywhere
                else, a weight that no whole number of blocks fits has one scale for each output channel.
        """
        self._index = index
        self._partial_blocks = partial_blocks
        self._integers = integers or {}
        self._done: dict[tuple[str, Scheme, str], QuantizedWeight] = {}

    def quantized(self, unit: Unit, config: QuantizeConfig, precision: str = INT8) -> QuantizedWeight:
        """The integer weight of ``unit`` under ``config`` at a precision that has integer weights."""
        assert unit.weight is not None
        node = self._index.nodes[unit.name]
        scheme = weight_scheme(node, config, precision)
        inputs = self._index.initializers[unit.weight].dims[input_axis(node)]
        partial = self._partial_blocks and precision in WEIGHT_ONLY
        if scheme.block_size is not None and inputs % scheme.block_size and not partial:
            scheme = _one_scale_per_channel(scheme, node, precision, inputs)
        key = (unit.weight, scheme, config.weight_range)
        if key not in self._done:
            weight = self._float(unit)
            scales, zero_points = weight_scales(weight, scheme, config.weight_range, name=unit.weight)
            values = quantize(weight, scales, zero_points, scheme)
            self._done[key] = QuantizedWeight(values, scales, zero_points, scheme.axis, scheme.bits, scheme.block_size)
        return self._given(unit.weight, self._done[key])

    def _given(self, name: str, nearest: QuantizedWeight) -> QuantizedWeight:
        values = self._integers.get(name)
        if values is None:
            return nearest
        scheme = nearest.scheme
        fits = values.shape == nearest.values.shape and values.dtype == nearest.values.dtype
        if not fits or (values.size and not scheme.dtype_min <= int(values.min()) <= int(values.max()) <= scheme.qmax):
            raise RecipeError(
                f"the recipe's integers for the weight {name!r} are not {scheme.dtype} of shape "
                f"{nearest.values.shape}; give the recipe as it was written"
            )
        return replace(nearest, values=values)

    def with_integers(self, integers: Mapping[str, npt.NDArray[np.generic]]) -> WeightQuantizer:
        """One that gives these integers, by name of the weight, on the grids of this one."""
        other = WeightQuantizer(self._index, integers, partial_blocks=self._partial_blocks)
        other._done = self._done
        return other

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
        if weight.axis is not None:  # the other channels keep their integers, which may not be the nearest ones
            mask = channels.reshape([-1 if i == weight.axis else 1 for i in range(values.ndim)])
            values = np.where(mask, values, weight.values)
        return replace(weight, values=values, scales=scales)

    def _float(self, unit: Unit) -> FloatArray:
        assert unit.weight is not None
        return self._index.weight(unit.weight).astype(np.float32, copy=False)


def weight_scheme(node: onnx.NodeProto, config: QuantizeConfig, precision: str) -> Scheme:
    """Integer type, symmetry and granularity of a unit's weight.

    Args:
        node: main node of the unit.
        config: the scheme.
        precision: one with integer weights.
    """
    if node.op_type == "Gather":
        return _table_scheme(config)
    if precision in WEIGHT_ONLY:
        sign = "int" if config.weight_only_symmetric else "uint"
        dtype, granularity = f"{sign}{4 if precision == INT4_WEIGHT_ONLY else 8}", "per_block"
    else:
        dtype, granularity = config.weight_dtype, config.weight_granularity
    if precision == INT8_DYNAMIC and granularity == "per_block":
        granularity = "per_channel"  # integer products have one scale for each column
    axes = {"per_tensor": None, "per_channel": channel_axis(node), "per_block": input_axis(node)}
    return Scheme(
        dtype=dtype,
        symmetric=dtype.startswith("int"),
        granularity=granularity,
        axis=axes[granularity],
        block_size=config.block_size if granularity == "per_block" else None,
    )


def _table_scheme(config: QuantizeConfig) -> Scheme:
    """Eight bits, whatever other weights have: nothing picks rows of fewer."""
    signed = config.weight_dtype.startswith("int")
    per_tensor = config.weight_granularity == "per_tensor"
    return Scheme(
        dtype="int8" if signed else "uint8",
        symmetric=signed,
        granularity="per_tensor" if per_tensor else "per_channel",
        axis=None if per_tensor else 1,
    )


def _one_scale_per_channel(scheme: Scheme, node: onnx.NodeProto, precision: str, inputs: int) -> Scheme:
    if precision in WEIGHT_ONLY:  # always written in blocks
        return replace(scheme, block_size=inputs)
    return replace(scheme, granularity="per_channel", axis=channel_axis(node), block_size=None)


def input_axis(node: onnx.NodeProto) -> int:
    """Axis of the inputs in the weight of a Conv, ConvTranspose (of one group), Gemm or MatMul."""
    return 1 - channel_axis(node)


def channel_axis(node: onnx.NodeProto) -> int:
    """Axis of the output channels in the weight of a Conv, ConvTranspose (of one group), Gemm, MatMul or Gather."""
    if node.op_type in ("ConvTranspose", "Gather", "MatMul"):
        return 1
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 0


def conv_groups(node: onnx.NodeProto) -> int:
    """Groups of a convolution; 1 for every other node."""
    return int(str(attribute(node, "group", 1))) if node.op_type == "Conv" else 1

"""Rounding to a grid with gradients: straight through the rounding, and to the step size.

Quantized tensors stay floats with whole values.  Rounding has the gradient of the identity (Bengio et al., arXiv
1308.3432).  With q = clip(round(x / s) + z) and y = (q - z) s, automatic differentiation then gives

    dy/ds = round(x / s) - x / s   inside the range,   q_min - z or q_max - z   outside,

which is the gradient of a learned step size (Esser et al., LSQ, arXiv 1902.08153, equation 3).  The paper's factor on
that gradient is left to the optimizer: Adam does not see it.
"""

from __future__ import annotations

import torch
from onnx import NodeProto

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.tensors import dtype_name
from autocompress.graph.torch_execution.call import Call, Operator, Tensor

GRIDS = {
    "uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767),
    "uint4": (0, 15), "int4": (-8, 7), "int32": (-(2**31), 2**31 - 1),
}  # fmt: skip


def round_straight_through(x: Tensor) -> Tensor:
    """Rounds half to even; the gradient is that of the identity."""
    return x + (torch.round(x) - x).detach()


def quantize(call: Call, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    """QuantizeLinear: whole numbers, kept as floats."""
    grid = call.get("grid", "uint8")
    return to_grid(x, scale, zero_point, grid, call.get("axis", 1), call.get("block_size", 0))


def dequantize(call: Call, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    """DequantizeLinear."""
    return dequantize_values(x, scale, zero_point, call.get("axis", 1), call.get("block_size", 0))


def to_grid(x: Tensor, scale: Tensor, zero_point: Tensor | None, grid: str, axis: int, block: int) -> Tensor:
    """Whole numbers of a grid, kept as floats: clip(round(x / scale) + zero_point).

    Args:
        x: real values.
        scale: one, or of shape (channels,) along ``axis``, or per block of ``block`` elements along it.
        zero_point: of the same shape, or None for 0.
        grid: a key of ``GRIDS``.
        axis: where channels or blocks lie.
        block: elements per block, 0 where there are none.
    """
    low, high = GRIDS[grid]
    steps = round_straight_through(x / _spread(scale, x, axis, block))
    if zero_point is not None:
        steps = steps + _spread(zero_point, x, axis, block).to(x.dtype)
    return steps.clamp(low, high)


def dequantize_values(whole: Tensor, scale: Tensor, zero_point: Tensor | None, axis: int, block: int) -> Tensor:
    """(whole - zero_point) scale; arguments as for ``to_grid``."""
    steps = whole.to(scale.dtype)
    if zero_point is not None:
        steps = steps - _spread(zero_point, whole, axis, block).to(scale.dtype)
    return steps * _spread(scale, whole, axis, block)


def grid_of(node: NodeProto, index: GraphIndex) -> str:
    """The grid that a QuantizeLinear rounds to: the type of its zero point, else what it says, else uint8."""
    if len(node.input) > 2 and node.input[2] in index.initializers:
        return dtype_name(index.initializers[node.input[2]].data_type)
    declared = int(attribute(node, "output_dtype", 0))  # type: ignore[call-overload]
    return dtype_name(declared) if declared else "uint8"


def _spread(parameter: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """A scale or zero point shaped so that it can be broadcast to ``x``: one, per channel, or per block."""
    if parameter.numel() == 1:
        return parameter.reshape(())
    axis = axis % x.dim()
    if parameter.dim() == 1:
        return parameter.reshape([-1 if position == axis else 1 for position in range(x.dim())])
    return parameter.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])


OPERATORS: dict[str, Operator] = {"QuantizeLinear": quantize, "DequantizeLinear": dequantize}

"""The weight of a layer seen as (groups, output channels, input channels, kernel), whatever its operator stores.

    Conv           (O, I/g, *kernel)          ConvTranspose  (I, O/g, *kernel)
    Gemm, MatMul   (I, O), or (O, I) with transB

Output channel number: group * (O/g) + o; input channel number: group * (I/g) + i.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto

from autocompress.graph.index import attribute
from autocompress.passes.equalize.network import DoubleArray, group_count


def canonical(node: NodeProto, weight: npt.NDArray[np.float64]) -> DoubleArray:
    """A view of a contiguous weight, of shape (groups, O/g, I/g, kernel elements); writing to it writes the weight."""
    groups = group_count(node)
    if node.op_type == "Conv":
        return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    if node.op_type == "ConvTranspose":
        return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1).transpose(0, 2, 1, 3)
    rows = weight if node.op_type == "Gemm" and attribute(node, "transB", 0) else weight.T
    return rows[None, :, :, None]


def output_channels(node: NodeProto, weight: TensorProto) -> int:
    """Output channels of a layer."""
    if node.op_type == "Conv":
        return int(weight.dims[0])
    if node.op_type == "ConvTranspose":
        return int(weight.dims[1]) * group_count(node)
    return int(weight.dims[0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 1])


def magnitudes(node: NodeProto, weight: npt.NDArray[np.generic]) -> DoubleArray:
    """Largest magnitude per pair of output and input channel, of shape (groups, O/g, I/g), a fresh array."""
    view = canonical(node, np.ascontiguousarray(weight, np.float64))
    return np.ascontiguousarray(np.abs(view).max(axis=3))


def scale_outputs(node: NodeProto, weight: DoubleArray, factors: DoubleArray) -> None:
    """Multiplies each output channel, in place; ``factors`` of shape (O,)."""
    view = canonical(node, weight)
    view *= factors.reshape(view.shape[0], view.shape[1], 1, 1)


def scale_inputs(node: NodeProto, weight: DoubleArray, factors: DoubleArray) -> None:
    """Multiplies each input channel, in place; ``factors`` of shape (I,)."""
    view = canonical(node, weight)
    view *= factors.reshape(view.shape[0], 1, view.shape[2], 1)

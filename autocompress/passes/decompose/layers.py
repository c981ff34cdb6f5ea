"""Which layers of a model can be decomposed, and why the others cannot."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto

from autocompress.graph.index import GraphIndex, attribute
from autocompress.passes.weighted_layers import sorted_out, weight_obstacle

DoubleArray = npt.NDArray[np.float64]

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE})


@dataclass(frozen=True)
class Layer:
    """A layer that multiplies its input by a constant.

    Attributes:
        name: of its node.
        op_type: "Conv", "Gemm" or "MatMul".
        inputs: channels that it reads.
        outputs: channels that it computes.
        kernel: sizes of its kernel; () for a matrix.
        strides: as many as ``kernel``.
        weight: name of its weight.
        transposed: whether a matrix is stored as (outputs, inputs).
    """

    name: str
    op_type: str
    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    weight: str
    transposed: bool = False

    @property
    def taps(self) -> int:
        """Elements of the kernel."""
        return math.prod(self.kernel)


def decomposable_layers(model: ModelProto) -> tuple[dict[str, Layer], dict[str, str]]:
    """Finds every layer with a weight of its own.

    Args:
        model: normalized.

    Returns:
        Node name -> layer, in graph order; and node name -> why it is left alone, for the other nodes that multiply
        matrices or kernels.
    """
    return sorted_out(model, _obstacle, _layer)


def kernel_of(layer: Layer, index: GraphIndex) -> DoubleArray:
    """The weight as float64 of shape (outputs, inputs, *kernel)."""
    weight = index.weight(layer.weight).astype(np.float64)
    return weight if layer.op_type == "Conv" or layer.transposed else np.ascontiguousarray(weight.T)


def singular_values(matrix: DoubleArray) -> DoubleArray:
    """Falling, one per dimension of the smaller side."""
    values: DoubleArray = np.linalg.svd(matrix, compute_uv=False).astype(np.float64)
    return values


def _obstacle(node: NodeProto, index: GraphIndex) -> str:
    if node.op_type == "ConvTranspose":
        return "transposed convolutions are not decomposed"
    reason = weight_obstacle(node, index, _FLOATS)
    if not reason and node.op_type == "Conv" and attribute(node, "group", 1) != 1:
        return "it is grouped"
    return reason


def _layer(node: NodeProto, index: GraphIndex) -> Layer:
    dims = [int(size) for size in index.initializers[node.input[1]].dims]
    if node.op_type == "Conv":
        kernel = tuple(dims[2:])
        strides = attribute(node, "strides", [1] * len(kernel))
        assert isinstance(strides, list)
        return Layer(node.name, "Conv", dims[1], dims[0], kernel, tuple(map(int, strides)), node.input[1])
    transposed = node.op_type == "Gemm" and bool(attribute(node, "transB", 0))
    outputs, inputs = dims if transposed else dims[::-1]
    return Layer(node.name, node.op_type, inputs, outputs, (), (), node.input[1], transposed)

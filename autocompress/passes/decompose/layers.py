"""Which layers of a model can be decomposed, and why the others cannot."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.tensors import dtype_name
from autocompress.graph.walk import is_standard

DoubleArray = npt.NDArray[np.float64]

MATRIX_OPS = frozenset({"Gemm", "MatMul"})
MULTIPLYING = MATRIX_OPS | {"Conv", "ConvTranspose"}
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
    index = GraphIndex(model)
    layers: dict[str, Layer] = {}
    left_alone: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in MULTIPLYING or not is_standard(node.domain):
            continue
        reason = _obstacle(node, index)
        if reason:
            left_alone[node.name] = reason
        else:
            layers[node.name] = _layer(node, index)
    return layers, left_alone


def kernel_of(layer: Layer, index: GraphIndex) -> DoubleArray:
    """The weight as float64 of shape (outputs, inputs, *kernel)."""
    weight = index.weight(layer.weight).astype(np.float64)
    return weight if layer.op_type == "Conv" or layer.transposed else np.ascontiguousarray(weight.T)


def singular_values(matrix: DoubleArray) -> DoubleArray:
    """Falling, one per dimension of the smaller side."""
    values: DoubleArray = np.linalg.svd(matrix, compute_uv=False).astype(np.float64)
    return values


def weight_obstacle(node: NodeProto, index: GraphIndex, kinds: Collection[int]) -> str:
    """Why the weight of a layer cannot be changed for that layer alone; "" where it can.

    Args:
        node: a Gemm, MatMul or convolution.
        index: of its graph.
        kinds: ONNX element types that a weight may have.
    """
    name = node.input[1]
    weight = index.initializers.get(name)
    if weight is None:
        return "its weight is computed in the graph"
    if index.is_constant(node.input[0]):
        return "its first operand is constant"
    readers = index.consumers.get(name, [])
    if len(readers) != 1 or list(readers[0].input).count(name) != 1 or name in index.outputs:
        return "its weight is shared"
    if weight.data_type not in kinds:
        return f"its weight is stored as {dtype_name(weight.data_type)}"
    if node.op_type in MATRIX_OPS and (len(weight.dims) != 2 or attribute(node, "transA", 0)):
        return "it does not multiply rows by one matrix"
    if 0 in weight.dims:
        return "its weight is empty"
    return "" if np.isfinite(index.weight(name)).all() else "its weight holds NaN or Inf"


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

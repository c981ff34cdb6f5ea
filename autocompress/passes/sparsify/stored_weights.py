"""The weight of a layer as it lies in the file: which of its numbers are zero, however they are stored.

Between a stored weight and its layer may stand a DequantizeLinear, a Cast (of four bits, of half precision), a Pad (of
input channels or of kernels, whose zeros are nobody's sparsity), what reorders it, or several of them.
Integers are zero where they equal their zero point:

    float                    x == 0
    DequantizeLinear(q, z)   q == z, with one z for all, one per channel or one per block
    integer operators        the same, with the zero point as an operand (MatMulInteger, QLinearConv, ...)
    MatMulNBits              the same, unpacked; z is the middle of the grid where there is no operand for it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.tensors import dtype_name
from autocompress.graph.walk import is_standard
from autocompress.passes.equalize.layers import canonical
from autocompress.passes.sparsify.masks import Mask
from autocompress.passes.weighted_layers import MATRIX_OPS, MULTIPLYING

Points = npt.NDArray[np.float32]

PER_TENSOR, PER_CHANNEL, PER_BLOCK = "per_tensor", "per_channel", "per_block"

# Operators of integers: what each multiplies like, and which operands are its weight and the weight's zero point.
_INTEGER_OPS = {
    "ConvInteger": ("Conv", 1, 3),
    "MatMulInteger": ("MatMul", 1, 3),
    "QLinearConv": ("Conv", 3, 5),
    "QLinearMatMul": ("MatMul", 3, 5),
}
_NBITS = "MatMulNBits"


@dataclass(frozen=True, eq=False)
class StoredWeight:
    """One layer's weight.

    Attributes:
        name: of the stored tensor.
        shape: in which it is stored; of the matrix that packed bits stand for.
        dtype: in which it is stored ("float32", "float16", "int8", "uint4", ...).
        granularity: "per_tensor", "per_channel", "per_block"; "" for floats.
        nonzero: where a number is not zero; of shape (groups, output channels, input channels, kernel
            elements).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    granularity: str
    nonzero: Mask


def stored_weight(node: NodeProto, index: GraphIndex) -> StoredWeight | None:
    """The weight of a node; None where it multiplies by none, or by one that the graph computes.

    Args:
        node: any operator.
        index: of its graph.
    """
    if node.op_type == _NBITS:
        return _packed(node, index)
    if not is_standard(node.domain):
        return None
    if node.op_type in MULTIPLYING:
        return _plain(node, index)
    return _integer(node, index) if node.op_type in _INTEGER_OPS else None


def _plain(node: NodeProto, index: GraphIndex) -> StoredWeight | None:
    producer = index.producers.get(node.input[1])
    if producer is None or producer.op_type != "DequantizeLinear":
        return _weight(node, node.op_type, node.input[1], None, None, index)
    return _weight(node, node.op_type, producer.input[0], _operand(producer, 2), producer, index)


def _integer(node: NodeProto, index: GraphIndex) -> StoredWeight | None:
    like, position, zero_point = _INTEGER_OPS[node.op_type]
    return _weight(node, like, node.input[position], _operand(node, zero_point), node, index)


def _weight(
    node: NodeProto, like: str, name: str, points: str | None, grid: NodeProto | None, index: GraphIndex
) -> StoredWeight | None:
    """A weight, its zero points, and the node that says along which axis they lie (None for floats)."""
    tensor = _stored(name, index)
    point = None if points is None else _stored(points, index)
    if tensor is None or (points is not None and point is None):
        return None
    values = index.weight(tensor.name)
    wanted = 2 if like in MATRIX_OPS else None
    if values.size == 0 or values.ndim < 2 or (wanted is not None and values.ndim != wanted):
        return None
    numbers = values if values.dtype.kind == "f" else values.astype(np.float32)  # exact for up to 24 bits
    zeros = np.zeros((), np.float32) if point is None else index.weight(point.name).astype(np.float32)
    seen = NodeProto()
    seen.CopyFrom(node)
    seen.op_type = like
    nonzero: Any = numbers != _along(zeros, values.shape, grid, like)
    view: Any = canonical(seen, nonzero)
    dtype = dtype_name(tensor.data_type)
    return StoredWeight(tensor.name, values.shape, dtype, _granularity(dtype, grid, index), view)


def _stored(name: str, index: GraphIndex) -> TensorProto | None:
    """The stored tensor of a name, looked up through reordering, Pad and Cast; None where it is computed."""
    for op_types in (("Reshape", "Transpose", "Reshape"), ("Pad",), ("Cast",)):
        name = _behind(op_types, name, index)
    return index.initializers.get(name)


def _behind(op_types: tuple[str, ...], name: str, index: GraphIndex) -> str:
    """What the first of a row of operators reads, where they compute a tensor; else its own name."""
    source = name
    for op_type in op_types:
        producer = index.producers.get(source)
        if producer is None or producer.op_type != op_type:
            return name
        source = producer.input[0]
    return source


def _along(points: Points, shape: tuple[int, ...], grid: NodeProto | None, like: str) -> Points:
    """Zero points broadcast to their weight: one for all, one per channel, or one per block."""
    if points.size == 1 or grid is None:
        return points.reshape(())
    if grid.op_type != "DequantizeLinear":  # an integer operator has one per output channel
        return points.reshape([-1 if i == (0 if like == "Conv" else len(shape) - 1) else 1 for i in range(len(shape))])
    axis = int(str(attribute(grid, "axis", 1))) % len(shape)
    if points.ndim == 1:
        return points.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    block = int(str(attribute(grid, "block_size", 0)))
    return np.repeat(points, block, axis=axis).take(range(shape[axis]), axis=axis)


def _granularity(dtype: str, grid: NodeProto | None, index: GraphIndex) -> str:
    """How many numbers share a scale, as far as the node that holds the scales tells."""
    if grid is None or dtype.startswith(("float", "bfloat")):
        return ""
    if grid.op_type == "DequantizeLinear":
        if attribute(grid, "block_size", 0):
            return PER_BLOCK
        scale = index.initializers.get(grid.input[1])
        return PER_TENSOR if scale is None or not scale.dims else PER_CHANNEL
    positions = {"QLinearConv": 4, "QLinearMatMul": 4}
    # The scales of plain integer operators stand in a product behind them; their zero points are as many.
    name = _operand(grid, positions.get(grid.op_type, _INTEGER_OPS[grid.op_type][2]))
    found = None if name is None else index.initializers.get(name)
    return PER_CHANNEL if found is not None and list(found.dims) not in ([], [1]) else PER_TENSOR


def _packed(node: NodeProto, index: GraphIndex) -> StoredWeight | None:
    """MatMulNBits: bytes of shape (columns, blocks, bytes of a block), low half first."""
    stored = index.initializers.get(node.input[1])
    points = _operand(node, 3)
    if stored is None or (points is not None and points not in index.initializers):
        return None
    bits, rows, columns, block = (int(str(attribute(node, name, 0))) for name in ("bits", "K", "N", "block_size"))
    if bits not in (4, 8):
        return None
    blocks = -(-rows // block)
    values = _unpacked(index.weight(stored.name).reshape(columns, blocks, -1), bits)[..., :block]
    zeros: npt.NDArray[np.generic] = np.full((columns, blocks), 1 << (bits - 1), np.uint8)
    if points is not None:
        given = index.weight(points)
        whole = _unpacked(given.reshape(columns, -1), bits) if given.dtype == np.uint8 else given.reshape(columns, -1)
        zeros = whole[:, :blocks]
    nonzero: Mask = (values != zeros[:, :, None]).reshape(columns, -1)[:, :rows]
    return StoredWeight(stored.name, (columns, rows), f"uint{bits}", PER_BLOCK, nonzero[None, :, :, None])


def _unpacked(given: npt.NDArray[np.generic], bits: int) -> npt.NDArray[np.uint8]:
    """Integers from bytes: themselves at 8 bits, two from each at 4."""
    values = given.astype(np.uint8)
    if bits == 8:
        return values
    halves = np.stack([values & 15, values >> 4], axis=-1)
    return halves.reshape(*values.shape[:-1], -1)


def _operand(node: NodeProto, position: int) -> str | None:
    return node.input[position] if position < len(node.input) and node.input[position] else None

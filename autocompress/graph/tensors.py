"""Facts about stored tensors: how many elements and bytes, and their values as numpy arrays."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from onnx import SparseTensorProto, TensorProto, helper, numpy_helper

_SUB_BYTE_BITS = {
    TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
    TensorProto.FLOAT4E2M1: 4,
    **{getattr(TensorProto, name): 2 for name in ("UINT2", "INT2") if hasattr(TensorProto, name)},
}


def element_count(dims: Iterable[int]) -> int:
    """Number of elements of a shape (1 for a scalar)."""
    count = 1
    for size in dims:
        count *= int(size)
    return count


def stored_bytes(data_type: int, dims: Iterable[int]) -> int:
    """Bytes that a tensor takes as raw data (4-bit types pack two elements per byte; 0 for strings)."""
    if data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        return 0
    bits = _SUB_BYTE_BITS.get(data_type) or 8 * int(helper.tensor_dtype_to_np_dtype(data_type).itemsize)
    return (element_count(dims) * bits + 7) // 8


def dtype_name(data_type: int) -> str:
    """Numpy-style name of an ONNX element type ("float32", "bfloat16", "string", ...)."""
    if data_type == TensorProto.STRING:
        return "string"
    if data_type == TensorProto.UNDEFINED:
        return "undefined"
    return str(helper.tensor_dtype_to_np_dtype(data_type).name)


def raw_bytes(tensor: TensorProto) -> bytes:
    """A tensor's contents in ONNX raw form, whichever field holds them (strings: length-prefixed)."""
    if tensor.data_type == TensorProto.STRING:
        return b"".join(len(text).to_bytes(8, "little") + text for text in tensor.string_data)
    if tensor.HasField("raw_data"):
        return bytes(tensor.raw_data)
    return bytes(numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data)


def densify(sparse: SparseTensorProto) -> npt.NDArray[np.generic]:
    """The dense array of a COO tensor.

    Indices are either of shape (nnz,), counting elements in row-major order, or of shape (nnz, rank).
    """
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    dense: npt.NDArray[np.generic] = np.zeros(tuple(sparse.dims), dtype=values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense

"""Weights stored as ONNX sparse tensors: the value and position of each number that is not zero.

ONNX Runtime loads such a file and makes the weights dense again, so it runs as fast as before, from a smaller file;
OpenVINO 2026.4.1 refuses it.
A float32 weight shrinks where more than two thirds are zero (8 bytes per position beside 4 per value).
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, SparseTensorProto, TensorProto, numpy_helper

from autocompress.graph.model import copy_model
from autocompress.graph.tensors import raw_bytes

_POSITION_BYTES = 8
_TYPES = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8})
_OVERHEAD_BYTES = 64  # names, shapes and tags of the second tensor


def with_sparse_storage(model: ModelProto) -> ModelProto:
    """A copy in which every weight that becomes smaller so is stored as a sparse tensor.

    Args:
        model: self-contained; not changed.  ``graph.normalize`` makes its weights dense again.
    """
    result = copy_model(model)
    dense: list[TensorProto] = []
    for weight in result.graph.initializer:
        sparse = _sparse(weight)
        if sparse is None:
            dense.append(weight)
        else:
            result.graph.sparse_initializer.append(sparse)
    del result.graph.initializer[:]
    result.graph.initializer.extend(dense)
    return result


def _sparse(weight: TensorProto) -> SparseTensorProto | None:
    """The sparse form, or None where it would not be smaller."""
    if weight.data_type not in _TYPES or not weight.dims or 0 in weight.dims:
        return None
    values = numpy_helper.to_array(weight).reshape(-1)
    positions = np.flatnonzero(values)
    packed = len(positions) * (_POSITION_BYTES + values.itemsize) + _OVERHEAD_BYTES
    if not len(positions) or packed >= len(raw_bytes(weight)):
        return None
    return SparseTensorProto(
        dims=list(weight.dims),
        values=numpy_helper.from_array(np.ascontiguousarray(values[positions]), weight.name),
        indices=numpy_helper.from_array(positions.astype(np.int64), f"{weight.name}_positions"),
    )

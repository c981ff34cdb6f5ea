"""How many bytes a sparse model takes: as it is, and in forms that keep only what is not zero.

Zeros in a plain ONNX file take as much room as other numbers.  The other sizes are computed by really encoding the
weights; each says which decoder it would need.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from autocompress.graph.saving import model_bytes
from autocompress.graph.tensors import raw_bytes
from autocompress.graph.transfer_size import deflated_bytes
from autocompress.passes.sparsify.sparse_storage import with_sparse_storage


@dataclass(frozen=True)
class StoredSize:
    """Sizes of one model in bytes.

    Attributes:
        file_bytes: of the ONNX file as it is written; what a device must store to run the model at once.
        sparse_file_bytes: of the ONNX file with its sparse weights stored as such (see ``sparse_storage``), which
            ONNX Runtime loads too.
        deflate_bytes: of the file compressed by deflate (as in .zip and .gz); unpacked before loading.
        bitmask_bytes: of the file with each weight as one bit per element and its non-zero values, where that is
            smaller; needs a decoder of one's own.
    """

    file_bytes: int
    sparse_file_bytes: int
    deflate_bytes: int
    bitmask_bytes: int


def stored_size(model: ModelProto) -> StoredSize:
    """Measures a model.

    Args:
        model: self-contained (no external data).
    """
    content = model_bytes(model)
    saved = sum(max(0, _dense_bytes(weight) - bitmask_bytes(weight)) for weight in model.graph.initializer)
    return StoredSize(
        file_bytes=len(content),
        sparse_file_bytes=len(model_bytes(with_sparse_storage(model))),
        deflate_bytes=deflated_bytes(content),
        bitmask_bytes=len(content) - saved,
    )


def bitmask_bytes(weight: TensorProto) -> int:
    """Bytes of a weight as a bit per element (set where it is not zero), then the values that are not zero."""
    if weight.data_type == TensorProto.STRING:
        return _dense_bytes(weight)
    values = numpy_helper.to_array(weight).reshape(-1)
    elements, nonzero = int(values.size), int(np.count_nonzero(values.astype(np.float64)))
    bits_per_value = 8 * _dense_bytes(weight) // max(1, elements)  # 4-bit values are packed
    return -(-elements // 8) + -(-nonzero * bits_per_value // 8)


def _dense_bytes(weight: TensorProto) -> int:
    return len(raw_bytes(weight))

"""Which tensors may hold infinities, because a constant does: attention masks with -inf are the usual case.

Such tensors have no finite range, so nothing that touches them can be quantized; the operators behind the next Softmax
can be again.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from autocompress.graph.index import GraphIndex
from autocompress.graph.walk import attribute_tensors, names_read, nodes_within

_BOUNDED = frozenset({"Erf", "HardSigmoid", "Sigmoid", "Softmax", "Tanh"})


def possibly_infinite(index: GraphIndex, float_tensors: frozenset[str]) -> frozenset[str]:
    """Tensors and weights that hold, or may come to hold, a value that is not finite.

    Args:
        index: the graph.
        float_tensors: names of its float32 tensors; infinities travel through no others.
    """
    found = {weight.name for weight in index.initializers.values() if not _is_finite(weight)}
    for node in index.graph.node:
        if not node.domain and node.op_type in _BOUNDED:
            continue
        own = (tensor for inner in nodes_within([node]) for tensor in attribute_tensors(inner))
        if not found.isdisjoint(names_read(node)) or not _all_finite(own):
            found.update(name for name in node.output if name in float_tensors)
    return frozenset(found)


def _all_finite(tensors: Iterable[onnx.TensorProto]) -> bool:
    return all(_is_finite(tensor) for tensor in tensors)


def _is_finite(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type != TensorProto.FLOAT or bool(np.isfinite(numpy_helper.to_array(tensor)).all())

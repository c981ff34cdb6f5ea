"""How weights lie in the file: four bits as two per byte, float weights in half precision.

Both are undone by a Cast of a constant, which runtimes compute once, when they load the model; DequantizeLinear reads
four bits itself where it stands before a float product.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autocompress.graph.rewrite import free_name, replace_nodes, tensor_names

_SMALLEST_HALF_ELEMENTS = 64  # a shorter weight would gain less than its Cast takes
_LARGEST_HALF = float(np.finfo(np.float16).max)


def pack_four_bits(model: onnx.ModelProto, stored: Mapping[str, str]) -> None:
    """Stores integer weights two per byte, in place.

    Args:
        model: of operator set 21 or newer.
        stored: weight -> "cast" where its readers want bytes, "direct" where they read four bits.
    """
    taken = tensor_names(model) | {node.name for node in model.graph.node}
    casts: list[onnx.NodeProto] = []
    for weight in model.graph.initializer:
        if weight.name not in stored:
            continue
        values = numpy_helper.to_array(weight)
        kind, wide = (
            (TensorProto.INT4, TensorProto.INT8) if values.dtype.kind == "i" else (TensorProto.UINT4, TensorProto.UINT8)
        )
        name = weight.name
        if stored[name] == "cast":
            name = free_name(f"{weight.name}_packed", taken)
            taken.add(name)
            casts.append(_cast(name, weight.name, wide))
        weight.CopyFrom(helper.make_tensor(name, kind, values.shape, _halves(values), raw=True))
    _put_first(model, casts)


def store_half(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Stores float32 weights in half precision, in place, wherever their numbers fit."""
    taken = tensor_names(model) | {node.name for node in model.graph.node}
    outputs = {output.name for output in model.graph.output}
    casts: list[onnx.NodeProto] = []
    for weight in model.graph.initializer:
        if weight.name in names and weight.name not in outputs and fits_half(weight):
            name = free_name(f"{weight.name}_half", taken)
            taken.add(name)
            casts.append(_cast(name, weight.name, TensorProto.FLOAT))
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), name))
    _put_first(model, casts)


def fits_half(weight: onnx.TensorProto) -> bool:
    """Whether a weight is float32, long enough to gain, and finite in half precision."""
    if weight.data_type != TensorProto.FLOAT or int(np.prod(weight.dims)) < _SMALLEST_HALF_ELEMENTS:
        return False
    # A comparison with NaN is False, so a weight that holds one stays as it is.
    return bool(np.abs(numpy_helper.to_array(weight)).max() <= _LARGEST_HALF)


def _cast(source: str, result: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [result], name=f"{source}_cast", to=kind)


def _halves(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    """Two's complement of four bits, the first of two values in the low half of a byte."""
    flat = values.reshape(-1).astype(np.int16) & 15
    if flat.size % 2:
        flat = np.append(flat, 0)
    return bytes((flat[0::2] | (flat[1::2] << 4)).astype(np.uint8).tobytes())


def _put_first(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    replace_nodes(model, [*nodes, *model.graph.node])

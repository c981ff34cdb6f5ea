"""DequantizeLinear followed by QuantizeLinear with the same scale, zero point and type gives the integers back.

    round((q - z) s / s) + z = q        exactly, for integers of up to 16 bits in float32 arithmetic

QuantizeLinear followed by DequantizeLinear rounds, so that pair stays.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.walk import is_standard

_INTEGERS = frozenset({TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16})


def drop_requantization(model: ModelProto, types: Mapping[str, int]) -> int:
    """Turns each QuantizeLinear that undoes a DequantizeLinear into an Identity of the integers, in place.

    Args:
        model: changed.
        types: tensor name -> ONNX element type, where known.

    Returns:
        How many nodes changed.
    """
    index = GraphIndex(model)
    changed = 0
    for node in model.graph.node:
        before = index.producers.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if before is None or before.op_type != "DequantizeLinear" or not is_standard(before.domain + node.domain):
            continue
        if _undoes(node, before, index, types):
            node.op_type = "Identity"
            source = before.input[0]
            del node.input[:], node.attribute[:]
            node.input.append(source)
            changed += 1
    return changed


def _undoes(quantize: NodeProto, dequantize: NodeProto, index: GraphIndex, types: Mapping[str, int]) -> bool:
    given, result = types.get(dequantize.input[0]), types.get(quantize.output[0])
    if given is None or given != result or given not in _INTEGERS:
        return False
    scales = [node.input[1] for node in (dequantize, quantize)]
    zero_points = [node.input[2] if len(node.input) > 2 else "" for node in (dequantize, quantize)]
    if any(types.get(name) != TensorProto.FLOAT for name in scales):
        return False
    if any(attribute(dequantize, name) != attribute(quantize, name) for name in ("axis", "block_size")):
        return False
    return _same(scales, index) and _usable(scales[0], index) and _same(zero_points, index)


def _same(names: list[str], index: GraphIndex) -> bool:
    first, second = (index.weight(name) if index.is_constant(name) else None for name in names)
    if first is None and second is None:
        return names == ["", ""]
    if first is None or second is None:
        given = first if first is not None else second
        return "" in names and not np.any(given)
    return first.shape == second.shape and bool(np.array_equal(first, second))


def _usable(scale: str, index: GraphIndex) -> bool:
    """Scales that neither underflow nor overflow."""
    values = index.weight(scale).astype(np.float64)
    return bool(np.all((values > 1e-30) & (values < 1e30)))

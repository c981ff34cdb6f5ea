"""Two layers with nothing between them become one where that takes no more multiply-adds.

    V (W x + b) + c  =  (V W) x + (V b + c)

Conv then 1 x 1 Conv; 1 x 1 Conv then Conv (without bias or padding between: a padded zero is not b); Gemm then Gemm;
MatMul then MatMul.  A bottleneck, which is cheaper as two layers, stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, helper

from autocompress.graph.index import attribute
from autocompress.graph.walk import is_standard
from autocompress.passes.fold.affine import FLOATS, FloatArray
from autocompress.passes.fold.stored_weights import StoredWeights

_LAYERS = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True)
class _Linear:
    """A layer as a kernel of shape (outputs, inputs, *kernel) and a bias."""

    kernel: FloatArray
    bias: FloatArray | None


def merge_consecutive(model: ModelProto) -> int:
    """Merges pairs of layers, in place; the second keeps its name, the first is left without readers.

    Returns:
        How many pairs were merged.
    """
    stored = StoredWeights(model)
    changed: set[str] = set()
    for node in model.graph.node:
        before = stored.index.producers.get(node.input[0]) if node.op_type in _LAYERS else None
        if before is None or before.name in changed or not _merge(before, node, stored):
            continue
        changed.add(node.name)
    return len(changed)


def _merge(first: NodeProto, second: NodeProto, stored: StoredWeights) -> bool:
    if first.op_type != second.op_type or not is_standard(first.domain) or not is_standard(second.domain):
        return False
    if stored.index.sole_consumer(first.output[0]) is None or list(second.input).count(first.output[0]) != 1:
        return False
    one, two = _linear(first, stored), _linear(second, stored)
    if one is None or two is None:
        return False
    if first.op_type == "Conv" and not _can_compose(first, second, one, two):
        return False
    kernel = np.einsum("om...,mi...->oi...", two.kernel, one.kernel)
    if kernel.size > one.kernel.size + two.kernel.size:
        return False
    # The window of a 1 x 1 layer is that of the other.
    window = first if first.op_type == "Conv" and _is_pointwise(second, two) else second
    return _store(first.input[0], second, window, kernel, _bias(one, two), stored)


def _linear(node: NodeProto, stored: StoredWeights) -> _Linear | None:
    index = stored.index
    weight = index.initializers.get(node.input[1])
    name = node.input[2] if len(node.input) > 2 else ""
    if weight is None or weight.data_type not in FLOATS or (name and not index.is_constant(name)) or 0 in weight.dims:
        return None
    kernel = stored.values(node.input[1])
    bias = stored.values(name) if name else None
    if node.op_type == "Conv":
        return _Linear(kernel, bias) if attribute(node, "group", 1) == 1 else None
    if len(weight.dims) != 2 or attribute(node, "transA", 0):
        return None
    if node.op_type == "MatMul":
        return _Linear(kernel.T, None)
    rows = kernel if attribute(node, "transB", 0) else kernel.T
    if bias is not None:
        if bias.size not in (1, len(rows)) or bias.size != (bias.shape[-1] if bias.ndim else 1):
            return None
        bias = np.broadcast_to(bias.reshape(-1), (len(rows),)) * float(str(attribute(node, "beta", 1.0)))
    return _Linear(rows * float(str(attribute(node, "alpha", 1.0))), bias)


def _can_compose(first: NodeProto, second: NodeProto, one: _Linear, two: _Linear) -> bool:
    if one.kernel.ndim != two.kernel.ndim:
        return False
    if _is_pointwise(second, two):
        return True
    pads = attribute(second, "pads", [])
    assert isinstance(pads, list)
    padded = any(pads) or attribute(second, "auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER")
    return _is_pointwise(first, one) and (one.bias is None or not padded)


def _is_pointwise(conv: NodeProto, linear: _Linear) -> bool:
    """Whether each output position is a product with the input at that position."""
    strides, pads = attribute(conv, "strides", []), attribute(conv, "pads", [])
    assert isinstance(strides, list)
    assert isinstance(pads, list)
    return set(linear.kernel.shape[2:]) <= {1} and set(strides) <= {1} and not any(pads)


def _bias(one: _Linear, two: _Linear) -> FloatArray | None:
    if one.bias is None:
        return two.bias
    # Summed over the kernel: where the second has one, the first's constant meets all of it.
    carried: FloatArray = two.kernel.reshape(*two.kernel.shape[:2], -1).sum(axis=2) @ one.bias
    return carried if two.bias is None else carried + two.bias


def _store(
    given: str, layer: NodeProto, window: NodeProto, kernel: FloatArray, bias: FloatArray | None, stored: StoredWeights
) -> bool:
    """Lets ``layer`` apply a kernel to a tensor, in the window of another layer; whether the numbers fit its type."""
    transposed = layer.op_type == "Gemm" and attribute(layer, "transB", 0)
    values = kernel if layer.op_type == "Conv" or transposed else kernel.T
    arrays = stored.as_type_of(layer.input[1], values, *([] if bias is None else [bias]))
    if arrays is None:
        return False
    operands = [given, stored.put(stored.own_name(layer.input[1]), arrays[0])]
    if bias is not None:
        old = layer.input[2] if len(layer.input) > 2 else ""
        name = stored.own_name(old) if old else stored.new_name(f"{layer.output[0]}_bias")
        operands.append(stored.put(name, arrays[1]))
    kept = {a.name: helper.get_attribute_value(a) for a in window.attribute if a.name not in ("alpha", "beta")}
    if "kernel_shape" in kept:
        kept["kernel_shape"] = list(kernel.shape[2:])
    if "transB" in kept:
        kept["transB"] = 1 if transposed else 0
    del layer.input[:], layer.attribute[:]
    layer.input.extend(operands)
    layer.attribute.extend(helper.make_attribute(name, value) for name, value in kept.items())
    return True

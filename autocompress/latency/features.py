"""What a predictor sees of an operator: a fixed row of numbers.

| columns | why |
| --- | --- |
| log multiply-adds, bytes, weight bytes, operand and result elements, intensity | the size of the work |
| batch, channels in and out per group, groups, height, width, window, strides, dilation, padding | its shape |
| channels modulo 4, 8, 16 | kernels work in blocks; a rest costs a slower path |
| rows, columns, inner size, products | the same for matrix products |
| operand dtypes, per-channel scales, layout, fused activation, fused addition, bias, constant operands | which kernel |
| size and stride of the moved axes | memory movement, softmax, normalization |
| sparsity | for runtimes that skip zeros |
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from autocompress.graph.signature import OpSignature, TensorType
from autocompress.runtimes.work import (
    bytes_touched,
    convolution_kernel,
    multiply_adds,
    tensor_bytes,
    weight_bytes,
    weight_of,
)

FloatArray = npt.NDArray[np.float32]

_DTYPES = ("float32", "uint8", "int8", "float16", "int64", "int32", "bool", "float64", "uint4", "int4")
_ACTIVATIONS = ("", "Relu", "Clip", "LeakyRelu", "HardSigmoid", "Tanh", "Sigmoid", "Silu")
_SIZES = ("macs", "bytes", "weight_bytes", "input_bytes", "output_bytes", "intensity")
_SHAPE = (
    "batch", "channels_in", "channels_out", "groups", "height", "width", "window", "window_height", "stride",
    "dilation", "padding",
)  # fmt: skip
_RESTS = tuple(f"channels_{side}_mod_{m}" for side in ("in", "out") for m in (4, 8, 16))
_PRODUCT = ("rows", "columns", "inner", "products", "columns_mod_16", "inner_mod_16")
_KIND = (
    "op", "activation_dtype", "other_dtype", "weight_dtype", "result_dtype", "scales", "blocked", "channels_last",
    "activation", "operands", "constants", "results",
)  # fmt: skip
_AXES = (
    "rank", "last_axis", "source_last_axis", "moved_axes", "axis", "smallest_operand", "largest_operand", "outer",
    "window_work", "broadcast",
)  # fmt: skip

FEATURES: tuple[str, ...] = (*_SIZES, *_SHAPE, *_RESTS, *_PRODUCT, *_KIND, *_AXES, "sparsity")


def features_of(signatures: Iterable[OpSignature]) -> FloatArray:
    """Feature rows.

    Returns:
        Of shape (operators, ``len(FEATURES)``).
    """
    rows = [_row(signature) for signature in signatures]
    return np.asarray(rows, np.float32).reshape(len(rows), len(FEATURES))


def _row(signature: OpSignature) -> list[float]:
    return [
        *_sizes(signature),
        *_shape(signature),
        *_product(signature),
        *_kind(signature),
        *_axes(signature),
        signature.sparsity,
    ]


def _log(value: float) -> float:
    return math.log2(1.0 + value)


def _sizes(signature: OpSignature) -> list[float]:
    macs, touched, weights = multiply_adds(signature), bytes_touched(signature), weight_bytes(signature)
    results = sum(tensor_bytes(t) for t in signature.outputs)
    return [_log(macs), _log(touched), _log(weights), _log(touched - weights - results), _log(results),
            _log(macs / max(touched, 1))]  # fmt: skip


def _shape(signature: OpSignature) -> list[float]:
    attributes = dict(signature.attributes)
    kernel = convolution_kernel(signature)
    shape = signature.outputs[0].shape if signature.outputs else ()
    if kernel is None:
        first = signature.inputs[0] if signature.inputs else None
        channels_in, channels_out = _channels(first), _channels(signature.outputs[0] if signature.outputs else None)
        window = window_height = 1
    else:
        channels_in, channels_out = kernel.shape[1], kernel.shape[0]
        window, window_height = math.prod(kernel.shape[2:]), kernel.shape[2]
    groups = _number(attributes.get("group", 1))
    pooled = _integers(attributes.get("kernel_shape"))
    if kernel is None and pooled:
        window, window_height = math.prod(pooled), pooled[0]
    height, width = _plane(shape, channels_last=bool(attributes.get("channels_last", 0)))
    whole_in, whole_out = int(channels_in * (groups if kernel is not None else 1)), int(channels_out)
    return [
        float(shape[0]) if shape else 1.0, float(channels_in), float(channels_out), groups, float(height), float(width),
        float(window), float(window_height), _number(attributes.get("strides", 1)),
        _number(attributes.get("dilations", 1)), float(sum(_integers(attributes.get("pads")))),
        *(float(whole_in % m) for m in (4, 8, 16)), *(float(whole_out % m) for m in (4, 8, 16)),
    ]  # fmt: skip


def _channels(tensor: TensorType | None) -> int:
    return tensor.shape[1] if tensor is not None and len(tensor.shape) > 1 else 1


def _plane(shape: tuple[int, ...], *, channels_last: bool) -> tuple[int, int]:
    if len(shape) < 3:
        return 1, 1
    plane = shape[1:-1] if channels_last else shape[2:]
    return plane[0], math.prod(plane[1:])


def _integers(value: object) -> tuple[int, ...]:
    return tuple(int(v) for v in value) if isinstance(value, tuple) else ()


def _number(value: object) -> float:
    if isinstance(value, tuple):
        return float(value[0]) if value else 0.0
    return float(value) if isinstance(value, int | float) else 0.0


def _product(signature: OpSignature) -> list[float]:
    macs = multiply_adds(signature)
    shape = signature.outputs[0].shape if signature.outputs else ()
    if macs == 0 or not shape or convolution_kernel(signature) is not None:
        return [0.0] * len(_PRODUCT)
    columns = shape[-1]
    inner = macs // max(math.prod(shape), 1)
    weight = weight_of(signature)
    products = 1 if weight is not None and len(weight.shape) == 2 else math.prod(shape[:-2])
    rows = math.prod(shape) // max(columns * products, 1)
    return [float(rows), float(columns), float(inner), float(products), float(columns % 16), float(inner % 16)]


def _kind(signature: OpSignature) -> list[float]:
    attributes = dict(signature.attributes)
    operands = [t for t in signature.inputs if t is not None]
    activations = [t for t in operands if not t.constant]
    vectors = [t.elements for t in operands if t.constant and t.dtype == "float32" and len(t.shape) == 1]
    activation = str(attributes.get("activation", ""))
    return [
        # Names become numbers that never change, whichever operators a table holds; trees can pick them apart.
        float(zlib.crc32(signature.op_type.encode()) % 8191),
        _dtype(activations[0] if activations else None),
        _dtype(activations[1] if len(activations) > 1 else None),
        _dtype(weight_of(signature)),
        _dtype(signature.outputs[0] if signature.outputs else None),
        float(max(vectors, default=0) > 1),
        float("nchwc" in signature.domain),
        _number(attributes.get("channels_last", 0)),
        float(_ACTIVATIONS.index(activation) if activation in _ACTIVATIONS else -1),
        float(len(operands)),
        float(sum(t.constant for t in operands)),
        float(len(signature.outputs)),
    ]  # fmt: skip


def _dtype(tensor: TensorType | None) -> float:
    if tensor is None:
        return -1.0
    return float(_DTYPES.index(tensor.dtype)) if tensor.dtype in _DTYPES else float(len(_DTYPES))


def _axes(signature: OpSignature) -> list[float]:
    attributes = dict(signature.attributes)
    shape = signature.outputs[0].shape if signature.outputs else ()
    operands = [t for t in signature.inputs if t is not None]
    last = shape[-1] if shape else 1
    named = [attributes[name] for name in ("axis", "axes", "operand1", "operand3") if name in attributes]
    axis = _number(named[0]) if named else -1.0
    axis = max(axis + len(shape), 0.0) if axis < 0 else axis
    sizes = [t.elements for t in operands if not (t.constant and t.elements <= 1)] or [0]
    source = next((t.shape[-1] for t in operands if t.shape), 1)
    elements = max((t.elements for t in signature.outputs), default=0)
    window = math.prod(_integers(attributes.get("kernel_shape")))
    return [
        float(len(shape)), _log(last), _log(source), _moved_axes(_integers(attributes.get("perm"))), axis,
        _log(min(sizes)), _log(max(sizes)), _log(math.prod(shape[: int(axis)]) if shape else 1),
        _log(elements * window), _log(elements) - _log(min(sizes)),
    ]  # fmt: skip


def _moved_axes(permutation: tuple[int, ...]) -> float:
    """How many leading axes a transposition really moves; the rest is copied in one piece."""
    kept = 0
    while kept < len(permutation) and permutation[-1 - kept] == len(permutation) - 1 - kept:
        kept += 1
    return float(len(permutation) - kept)

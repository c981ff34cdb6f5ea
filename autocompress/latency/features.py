"""What a predictor sees of an operator: a fixed row of numbers.

| columns | why |
| --- | --- |
| log multiply-adds, bytes, weight bytes, operand and result elements, intensity | the size of the work |
| batch, channels in and out per group, groups, height, width, window, strides, dilation, padding | its shape |
| rows, columns, inner size, products | the same for matrix products |
| channels, planes and last axes: rests of 4 to 64, share of padding | kernels work in blocks; a rest costs more |
| alignment of planes and last axes | addresses 4096 bytes apart share a set of the first cache |
| operand dtypes, per-channel scales, layout, what is fused into it, bias, constant operands | which kernel |
| size and stride of the moved axes | memory movement, softmax, normalization |
| log of each count of work (``work_terms.py``) | what the time is made of |
| sparsity | for runtimes that skip zeros |
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.placement import (
    activations_of,
    channel_axis,
    fused_with,
    in_memory,
    is_interleaved,
    operand_order,
    result_order,
)
from autocompress.latency.work_terms import FUNCTIONS, WORK_TERMS, integers, padded, work_terms
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
_ACTIVATIONS = ("", "Relu", "Clip", "LeakyRelu", "HardSigmoid", "Tanh", "Sigmoid", "Silu", "HardSwish")
_SIZES = ("macs", "bytes", "weight_bytes", "input_bytes", "output_bytes", "intensity")
_SHAPE = (
    "batch", "channels_in", "channels_out", "groups", "height", "width", "window", "window_height", "stride",
    "dilation", "padding",
)  # fmt: skip
_PRODUCT = ("rows", "columns", "inner", "products", "columns_mod_16", "inner_mod_16")
_KIND = (
    "op", "activation_dtype", "other_dtype", "weight_dtype", "result_dtype", "scales", "blocked", "channels_last",
    "activation", "operands", "constants", "results", "operator", "interleaved", "fused", "fused_functions",
    "fused_steps", "step",
)  # fmt: skip
_AXES = (
    "rank", "last_axis", "source_last_axis", "moved_axes", "axis", "smallest_operand", "largest_operand", "outer",
    "window_work", "broadcast",
)  # fmt: skip
_RESTS, _BLOCKS = (4, 8, 16, 32, 64), (16, 32, 64)
_FIT = tuple(
    f"{side}_{name}"
    for side in ("operand", "result")
    for name in (
        "channels", *(f"channels_mod_{m}" for m in _RESTS), *(f"channels_pad_{m}" for m in _BLOCKS), "plane",
        "plane_alignment", "last_axis_alignment", "plane_mod_16", "plane_mod_6", "last_axis_mod_16",
    )
)  # fmt: skip
_WORK = (*(f"work_{i}" for i in range(WORK_TERMS - 2)), "work_functions", "work_fused")

FEATURES: tuple[str, ...] = (*_SIZES, *_SHAPE, *_PRODUCT, *_KIND, *_AXES, *_FIT, "sparsity", *_WORK)


def features_of(signatures: Iterable[OpSignature]) -> FloatArray:
    """Feature rows.

    Returns:
        Of shape (operators, ``len(FEATURES)``).
    """
    listed = list(signatures)
    rows = np.asarray([_row(signature) for signature in listed], np.float32)
    work = np.log2(1.0 + work_terms(listed))
    return np.hstack([rows.reshape(len(listed), len(FEATURES) - WORK_TERMS), work.astype(np.float32)])


def _row(signature: OpSignature) -> list[float]:
    return [
        *_sizes(signature),
        *_shape(signature),
        *_product(signature),
        *_kind(signature),
        *_axes(signature),
        *_fit(signature),
        signature.sparsity,
    ]


def _log(value: float) -> float:
    return math.log2(1.0 + value)


def _sizes(signature: OpSignature) -> list[float]:
    macs, touched, weights = multiply_adds(signature), bytes_touched(signature), weight_bytes(signature)
    read, results = (sum(map(tensor_bytes, side)) for side in (activations_of(signature), signature.outputs))
    return [_log(macs), _log(touched), _log(weights), _log(read), _log(results),
            _log(macs / max(touched, 1))]  # fmt: skip


def _shape(signature: OpSignature) -> list[float]:
    attributes = dict(signature.attributes)
    kernel = convolution_kernel(signature)
    shape = signature.outputs[0].shape if signature.outputs else ()
    if kernel is None:
        channels_in = _channels(signature, signature.inputs[0] if signature.inputs else None)
        channels_out = _channels(signature, signature.outputs[0] if signature.outputs else None)
        window = window_height = 1
    else:
        channels_in, channels_out = kernel.shape[1], kernel.shape[0]
        window, window_height = math.prod(kernel.shape[2:]), kernel.shape[2]
    pooled = integers(attributes.get("kernel_shape"))
    if kernel is None and pooled:
        window, window_height = math.prod(pooled), pooled[0]
    height, width = _plane(signature, shape)
    return [
        float(shape[0]) if shape else 1.0, float(channels_in), float(channels_out), _number(attributes.get("group", 1)),
        float(height), float(width), float(window), float(window_height), _number(attributes.get("strides", 1)),
        _number(attributes.get("dilations", 1)), float(sum(integers(attributes.get("pads")))),
    ]  # fmt: skip


def _channels(signature: OpSignature, tensor: TensorType | None) -> int:
    shape = tensor.shape if tensor is not None else ()
    return shape[channel_axis(signature, len(shape))] if shape else 1


def _plane(signature: OpSignature, shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) < 3:
        return 1, 1
    plane = [size for axis, size in enumerate(shape) if axis not in (0, channel_axis(signature, len(shape)))]
    return plane[0], math.prod(plane[1:])


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
    fused = [name for name in fused_with(signature).split("+") if name]
    functions = sum(name in FUNCTIONS for name in (*fused, attributes.get("operator")))
    return [
        _name(signature.op_type),
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
        _name(str(attributes.get("operator", ""))),
        float(is_interleaved(signature)),
        _name(fused_with(signature)),
        float(functions),
        float(len(fused) - functions),
        # Of a slice: reading every second element of a row costs more than reading all of it.
        _number(attributes.get("operand4", 1)),
    ]  # fmt: skip


def _name(text: str) -> float:
    """Names become numbers that never change, whichever operators a table holds; trees can pick them apart."""
    return float(zlib.crc32(text.encode()) % 8191) if text else -1.0


def _dtype(tensor: TensorType | None) -> float:
    if tensor is None:
        return -1.0
    return float(_DTYPES.index(tensor.dtype)) if tensor.dtype in _DTYPES else float(len(_DTYPES))


def _axes(signature: OpSignature) -> list[float]:
    attributes = dict(signature.attributes)
    shape = signature.outputs[0].shape if signature.outputs else ()
    operands = [t for t in signature.inputs if t is not None]
    last, source = _stored(signature)
    named = [attributes[name] for name in ("axis", "axes", "operand1", "operand3") if name in attributes]
    axis = _number(named[0]) if named else -1.0
    axis = max(axis + len(shape), 0.0) if axis < 0 else axis
    sizes = [t.elements for t in operands if not (t.constant and t.elements <= 1)] or [0]
    elements = max((t.elements for t in signature.outputs), default=0)
    window = math.prod(integers(attributes.get("kernel_shape")))
    return [
        float(len(shape)), _log(last), _log(source), _moved_axes(integers(attributes.get("perm"))), axis,
        _log(min(sizes)), _log(max(sizes)), _log(math.prod(shape[: int(axis)]) if shape else 1),
        _log(elements * window), _log(elements) - _log(min(sizes)),
    ]  # fmt: skip


def _moved_axes(permutation: Sequence[int]) -> float:
    """How many leading axes a transposition really moves; the rest is copied in one piece."""
    kept = 0
    while kept < len(permutation) and permutation[-1 - kept] == len(permutation) - 1 - kept:
        kept += 1
    return float(len(permutation) - kept)


def _stored(signature: OpSignature) -> tuple[int, int]:
    """Sizes of the axes that change fastest in memory: of the result, of the first activation."""
    operands = activations_of(signature)
    stored = in_memory(signature.outputs[0].shape, result_order(signature)) if signature.outputs else ()
    read_from = in_memory(operands[0].shape, operand_order(signature)) if operands else ()
    return stored[-1] if stored else 1, read_from[-1] if read_from else 1


def _fit(signature: OpSignature) -> list[float]:
    """How well operand and result fit vectors, blocks and cache sets."""
    operands = activations_of(signature)
    result_last, operand_last = _stored(signature)
    row: list[float] = []
    sides = (
        (operands[0] if operands else None, operand_last),
        (signature.outputs[0] if signature.outputs else None, result_last),
    )
    for tensor, last_axis in sides:
        channels = _channels(signature, tensor)
        plane = math.prod(_plane(signature, tensor.shape if tensor is not None else ()))
        size = tensor_bytes(tensor) // max(tensor.elements, 1) if tensor is not None else 4
        row += [
            float(channels), *(float(channels % m) for m in _RESTS),
            *(padded(channels, m) / max(channels, 1) for m in _BLOCKS), float(plane),
            float(_alignment(plane * size)), float(_alignment(last_axis * size)), float(plane % 16), float(plane % 6),
            float(last_axis % 16),
        ]  # fmt: skip
    return row


def _alignment(size_bytes: int) -> int:
    """The largest power of two, up to 2^14, that divides a size, as an exponent."""
    return (math.gcd(size_bytes, 1 << 14)).bit_length() - 1

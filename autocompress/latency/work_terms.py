"""Counts of the work that kernels do for one operator: what a fitted roofline weighs against each other.

A kernel's time is, to first order, a sum of simple counts: multiply-adds (rounded up to the blocks it computes in),
elements it gathers into contiguous rows first, results it rounds and stores, rows it starts, bytes that come from
memory.  Which counts matter to which kernel is fitted (``fitted_roofline.py``); here they are only counted, from the
signature alone, for three kinds of operators: convolutions, matrix products, and everything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np
import numpy.typing as npt

from autocompress.graph.signature import AttributeValue, OpSignature, TensorType
from autocompress.latency.placement import (
    activations_of,
    channel_axis,
    fused_with,
    in_memory,
    is_interleaved,
    operand_order,
    result_order,
    stride_of,
)
from autocompress.runtimes.work import (
    convolution_kernel,
    multiply_adds,
    products_within,
    tensor_bytes,
    weight_bytes,
    weight_of,
)

FloatArray = npt.NDArray[np.float64]
Attributes = dict[str, AttributeValue]

COMMON = ("launch", "macs", "results", "operands", "result_bytes", "operand_bytes", "weight_bytes", "far_bytes")
SPECIFIC = 22
WORK_TERMS = len(COMMON) + SPECIFIC
_NEAR_BYTES = 1 << 20  # what an inner cache of its own holds, roughly; beyond it bytes come from further away
FUNCTIONS = frozenset(
    {
        "Sigmoid", "Tanh", "Erf", "Exp", "Gelu", "HardSwish", "HardSigmoid", "Elu", "Selu", "Celu", "Softplus", "Mish",
        "Swish", "Silu", "Log", "Pow", "Sqrt", "Div", "Sin", "Cos", "Softmax", "Reciprocal", "Softsign", "FakeQuantize",
        "LayerNormalization",
    }
)  # fmt: skip
"""What a runtime computes by polynomials or tables, many instructions for each element."""
_ALIAS = 4096  # bytes after which addresses share a set of the first cache
_LANES = 16  # float32 lanes of a vector register; kernels pad channels and columns to it


def work_terms(signatures: Iterable[OpSignature]) -> FloatArray:
    """Counts of each operator, of shape (operators, ``WORK_TERMS``); none is negative, the first is one."""
    rows = [_row(signature) for signature in signatures]
    return np.asarray(rows, np.float64).reshape(len(rows), WORK_TERMS)


def padded(size: int, block: int) -> int:
    """The smallest multiple of ``block`` that is not below ``size``."""
    return -(-size // block) * block


def integers(value: object) -> tuple[int, ...]:
    """An attribute of several integers; () for anything else."""
    return tuple(int(v) for v in value) if isinstance(value, tuple) else ()


def _row(signature: OpSignature) -> list[float]:
    attributes = dict(signature.attributes)
    macs = multiply_adds(signature)
    if convolution_kernel(signature) is not None or signature.op_type == "ConvTranspose":
        specific = _convolution(signature, attributes)
    elif products_within(signature):
        specific = _attention(signature, macs)
    elif macs:
        specific = _product(signature, macs)
    else:
        specific = _movement(signature, attributes)
    counts = [float(count) for count in specific] + [0.0] * (SPECIFIC - len(specific))
    if macs and not products_within(signature):
        counts[-2:] = _fused_work(signature)
    return [*_common(signature, macs), *counts]


def _fused_work(signature: OpSignature) -> list[float]:
    """What a kernel computes of each result besides its own work: functions, and steps in all."""
    results = sum(t.elements for t in signature.outputs)
    fused = [name for name in fused_with(signature).split("+") if name]
    return [float(results * sum(name in FUNCTIONS for name in fused)), float(results * len(fused))]


def _common(signature: OpSignature, macs: int) -> list[float]:
    operands = activations_of(signature)
    read, written = sum(map(tensor_bytes, operands)), sum(map(tensor_bytes, signature.outputs))
    weights = weight_bytes(signature)
    return [
        1.0, float(macs), float(sum(t.elements for t in signature.outputs)), float(sum(t.elements for t in operands)),
        float(written), float(read), float(weights), float(max(0, read + written + weights - _NEAR_BYTES)),
    ]  # fmt: skip


def _convolution(signature: OpSignature, attributes: Attributes) -> list[int]:
    kernel = convolution_kernel(signature) or weight_of(signature) or activations_of(signature)[-1]
    groups = int(attributes["group"]) if isinstance(attributes.get("group"), int) else 1  # type: ignore[arg-type]
    channels, inputs, window = kernel.shape[0], kernel.shape[1], prod(kernel.shape[2:])
    shape = signature.outputs[0].shape
    pixels = signature.outputs[0].elements // max(channels, 1)
    lines = pixels // max(shape[-2] if channel_axis(signature, len(shape)) == len(shape) - 1 else shape[-1], 1)
    if groups > 1 and inputs == 1:
        return _depthwise(channels, window, pixels, lines, is_interleaved(signature))
    each, inner = max(channels // groups, 1), window * inputs
    gathers = groups * (window > 1 or max(integers(attributes.get("strides")) or (1,)) > 1)
    work, results = pixels * inner * groups, pixels * groups
    rest = each % _LANES
    return [
        work * padded(each, _LANES), work * padded(each, 48), work * padded(each, 64),
        results * padded(inner, 4) * padded(each, 32),
        results * window * padded(inputs, _LANES) * padded(each, _LANES),
        padded(pixels, 6) * inner * each * groups,
        work * each * (inputs < _LANES),
        work * each * (rest > 0), work * (each % 8), work * (inner % 4 > 0),
        results * each * (rest > 0), results * each * (each % 4 > 0), results * (each % 8), results * padded(each, 32),
        pixels * inner * gathers, pixels * window * gathers, pixels * window * gathers * (inputs % 4 > 0),
        lines * inner * gathers,
        results, groups,
    ]  # fmt: skip


def _depthwise(channels: int, window: int, pixels: int, lines: int, interleaved: bool) -> list[int]:
    """A kernel over interleaved channels works on vectors of them; one over planes takes channel after channel."""
    if not interleaved:
        return [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, padded(pixels, _LANES) * window * channels, lines * window * channels,
                channels, lines * channels]  # fmt: skip
    rest = channels % _LANES
    return [
        pixels * window * padded(channels, _LANES), pixels * window * padded(channels, 64), pixels * window,
        pixels * window * channels * (rest > 0), pixels * window * (channels % 8),
        pixels * padded(channels, _LANES), pixels * channels * (rest > 0), pixels * (channels % 8),
        lines * padded(channels, _LANES), pixels,
    ]  # fmt: skip


def _product(signature: OpSignature, macs: int) -> list[int]:
    shape = signature.outputs[0].shape
    results = signature.outputs[0].elements
    columns, inner = shape[-1] if shape else 1, macs // max(results, 1)
    weight = weight_of(signature)
    rows = results // max(columns, 1)
    products = 1 if weight is not None and len(weight.shape) == 2 else prod(shape[:-2])
    rest = columns % _LANES
    return [
        rows * inner * padded(columns, _LANES), rows * inner * padded(columns, 64),
        rows * padded(inner, 4) * padded(columns, _LANES),
        padded(rows // max(products, 1), 6) * products * inner * columns,
        macs * (rest > 0), results * (rest > 0), rows * (columns % 8), rows * inner,
        rows, products, inner * columns * products,
    ]  # fmt: skip


def _attention(signature: OpSignature, macs: int) -> list[int]:
    """Two products with elementwise work between them: most of the time may go to scores, which no operand shows.

    Queries of width d and results of width v take ``scores * (d + v)`` multiply-adds, and one row of scores is as long
    as there are keys: ``macs / (elements of the queries + elements of the results)``.
    """
    operands, result = activations_of(signature), signature.outputs[0]
    widths = [t.shape[-1] for t in (*operands[:1], result) if t.shape]
    scores = macs // max(sum(widths), 1)
    keys = max(macs // max(sum(t.elements for t in (*operands[:1], result)), 1), 1)
    rows = scores // keys
    fused = [name for name in fused_with(signature).split("+") if name]
    functions = sum(name in FUNCTIONS for name in fused)
    moved = sum(t.elements for t in operands[:3]) * sum(name in ("Transpose", "Reorder") for name in fused)
    return [
        scores, scores * functions, scores * len(fused), rows, rows * padded(keys, _LANES),
        macs * (keys % _LANES > 0), rows * sum(padded(width, _LANES) for width in widths) * keys,
        moved, result.elements * functions,
    ]  # fmt: skip


def _movement(signature: OpSignature, attributes: Attributes) -> list[int]:
    operands = activations_of(signature)
    results = sum(t.elements for t in signature.outputs)
    source = operands[0] if operands else None
    last = is_interleaved(signature)
    taps = _taps(signature, attributes)
    stored = in_memory(signature.outputs[0].shape, result_order(signature)) if signature.outputs else ()
    read_from = in_memory(source.shape, operand_order(signature)) if source is not None else ()
    width, source_width = (shape[-1] if shape else 1 for shape in (stored, read_from))
    channels = width if last else 1
    source_rows = (source.elements if source is not None else 0) // max(source_width, 1)
    smallest = min((t.elements for t in signature.inputs if t is not None and t.elements > 1), default=0)
    places = taps // max(channels, 1)
    read, written = _strides(signature, source)
    fused = [*fused_with(signature).split("+"), str(attributes.get("operator", ""))]
    functions = sum(name in FUNCTIONS for name in fused)
    return [
        taps, places,
        places * padded(channels, 64) if last else 0, places * (channels % 8) if last else 0,
        taps if last and channels % _LANES else 0,
        results // max(width, 1), source_rows,
        source_rows * (source_width % 8), results // max(width, 1) * (width % 8),
        results * (source_width % _LANES > 0), results * (width % _LANES > 0),
        _pieces(signature, attributes, operands),
        results if smallest < results else 0,
        len(operands),
        *(results * (stride > 0 and stride % _ALIAS == 0) for stride in (read, written)),
        *(results * (stride > 0 and stride % (_ALIAS // 4) == 0) for stride in (read, written)),
        results * _by_column(signature, attributes),
        _odd_blocks(signature),
        results * functions, results * len(fused),
    ]  # fmt: skip


def _strides(signature: OpSignature, source: TensorType | None) -> tuple[int, int]:
    """Bytes between neighbours of the result within the source, and of the source within the result; 0 for none.

    Where they are multiples of 4096, neighbours fall into one set of the first cache and drive each other out.
    """
    if source is None or not signature.outputs or len(source.shape) < 2:
        return 0, 0
    result = signature.outputs[0]
    if "nchwc" in signature.domain and "Reorder" in signature.op_type:
        planes = [prod(t.shape[2:]) * tensor_bytes(t) // max(t.elements, 1) for t in (source, result)]
        return planes[0], planes[1]
    rank = len(source.shape)
    moved = integers(dict(signature.attributes).get("perm")) if signature.op_type == "Transpose" else tuple(range(rank))
    if len(moved) != rank or len(result.shape) != rank:
        return 0, 0
    read_from, stored = operand_order(signature), result_order(signature)
    inner, outer = moved[stored[-1]], moved.index(read_from[-1])
    if inner == read_from[-1]:
        return 0, 0
    size = tensor_bytes(source) // max(source.elements, 1)
    return size * stride_of(source.shape, read_from, inner), size * stride_of(result.shape, stored, outer)


def _by_column(signature: OpSignature, attributes: Attributes) -> bool:
    """Whether scales change along the last axis, element by element."""
    scales = [t for t in signature.inputs[1:] if t is not None and t.constant and len(t.shape) == 1 and t.elements > 1]
    shape = signature.outputs[0].shape if signature.outputs else ()
    return bool(scales) and len(shape) > 1 and attributes.get("axis", 1) in (-1, len(shape) - 1)


def _odd_blocks(signature: OpSignature) -> int:
    """Elements of a reordered tensor whose channels do not fill their blocks."""
    if "Reorder" not in signature.op_type or not signature.outputs:
        return 0
    channels = dict(signature.attributes).get("channels", 0)
    return signature.outputs[0].elements * (isinstance(channels, int) and channels % 4 > 0)


def _taps(signature: OpSignature, attributes: Attributes) -> int:
    """Operand elements that a pooling really looks at: windows are cut at the borders."""
    window = integers(attributes.get("kernel_shape"))
    operands = activations_of(signature)
    if not window or not operands or not signature.outputs or len(operands[0].shape) != len(window) + 2:
        return 0
    source, result = operands[0].shape, signature.outputs[0].shape
    if len(result) != len(source):
        return 0
    channels = channel_axis(signature, len(source))
    first = 1 if channels == len(source) - 1 else 2
    pads = integers(attributes.get("pads")) or (0,) * (2 * len(window))
    strides = integers(attributes.get("strides")) or (1,) * len(window)
    taps = result[0] * result[channels]
    for axis, size in enumerate(window):
        starts = [o * strides[axis] - pads[axis] for o in range(result[first + axis])]
        taps *= sum(max(min(s + size, source[first + axis]) - max(s, 0), 0) for s in starts)
    return taps


def _pieces(signature: OpSignature, attributes: Attributes, operands: list[TensorType]) -> int:
    """Contiguous pieces that are copied one by one."""
    if not operands or not signature.outputs:
        return 0
    source, result = operands[0], signature.outputs[0]
    piece = 1
    if signature.op_type == "Transpose":
        permutation = integers(attributes.get("perm")) or tuple(reversed(range(len(source.shape))))
        for axis in reversed(range(len(permutation))):
            if permutation[axis] != axis:
                break
            piece *= source.shape[axis]
        return source.elements // max(piece, 1)
    read_from = in_memory(source.shape, operand_order(signature))
    stored = in_memory(result.shape, result_order(signature))
    for a, b in zip(reversed(read_from), reversed(stored), strict=False):
        piece *= min(a, b)
        if a != b:
            break
    return max(source.elements, result.elements) // max(piece, 1)

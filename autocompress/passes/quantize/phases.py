"""Integer convolutions of an image that move by strides read its phases, side by side as channels.

    y[o, m, n] = sum over c, i, j of        W[o, c, i, j] x[c, s m + i, t n + j]
               = sum over q, c, p, i, j of  W[o, c, s i + p, t j + q] x[c, s (m + i) + p, t (n + j) + q]

The second line is a convolution without strides of s t times the channels: 12 for a color image and strides of 2, as
many as integer kernels like to read at a time, where three are slow.  The kernel is filled up with zeros to whole
blocks of s x t.  The same integers come out.  It is the opposite of ``passes.fold.space_to_depth``, which is what
float kernels want.

The phases are gathered in integers by two moves that runtimes do fast.  First every s-th row of pixels becomes one of
another channel, (c, p); then channels go behind the pixels, where the t pixels of a block are neighbours: (q, c, p).
A runtime that computes with the channels last cancels the last Transpose.

The weight lies in the file as it was, behind a Pad, a Transpose and two Reshapes of a constant, which runtimes compute
once, when they load the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from autocompress.graph.conv_windows import explicit_pads, set_window, window_numbers
from autocompress.graph.index import GraphIndex
from autocompress.graph.inference import drop_annotations
from autocompress.graph.rewrite import drop_dead, replace_nodes, tensor_names
from autocompress.graph.specs import Size
from autocompress.passes.quantize.padding import is_channels_last
from autocompress.passes.quantize.units import Unit
from autocompress.passes.quantize.weights import conv_groups
from autocompress.passes.quantize.writer import GraphWriter
from autocompress.runtimes.protocol import ChannelPadding

_MOST_EXTRA = 400  # products per position, over all outputs, that cost less than reading phases gains

Move = tuple[str, str, list[int]]
"""Operator, what its result is called, its numbers: of the shape, of the permutation, of the padding."""


@dataclass(frozen=True)
class Phases:
    """How a convolution becomes one of phases.

    Attributes:
        data: moves of its input, batch first and left as it is.
        weight: moves of its weight.
        kernel: size of its new kernel.
        pads: zeros of phases, before then behind each axis.
    """

    data: tuple[Move, ...]
    weight: tuple[Move, ...]
    kernel: tuple[int, ...]
    pads: tuple[int, ...]


def worth_phases(
    index: GraphIndex,
    units: Sequence[Unit],
    rule: ChannelPadding,
    shapes: Callable[[], Mapping[str, Sequence[Size]]],
) -> dict[str, Phases]:
    """Convolutions that are faster on phases, if they are int8 and what they read was float.

    Args:
        index: the float graph.
        units: its units.
        rule: what the runtime rewards.
        shapes: gives the shapes of tensors, as far as known; asked only where there is a convolution to judge.

    Returns:
        Node name -> what it becomes.
    """
    found: dict[str, Phases] = {}
    for unit in units:
        if unit.op_type != "Conv" or unit.weight is None or len(index.initializers[unit.weight].dims) != 4:
            continue
        node = index.nodes[unit.name]
        outputs, inputs = index.initializers[unit.weight].dims[:2]
        fits = outputs % rule.outputs == 0 and outputs >= rule.least_outputs
        plain = conv_groups(node) == 1 and window_numbers(node, "dilations", 1, 2) == [1, 1]
        grown = inputs * math.prod(window_numbers(node, "strides", 1, 2))
        if not fits or not plain or not inputs % rule.inputs or grown % rule.inputs or is_channels_last(index, unit):
            continue
        phases = _phases(node, index.initializers[unit.weight].dims, shapes().get(unit.inputs[0], ()), rule)
        if phases is not None:
            found[unit.name] = phases
    return found


def read_phases(model: ModelProto, phases: Mapping[str, Phases]) -> None:
    """Lets convolutions of a quantized model read phases, in place.

    Args:
        model: with Q/DQ pairs.
        phases: node name of a convolution -> what it becomes; a Quantize and a Dequantize stand before it.
    """
    index = GraphIndex(model)
    writer = GraphWriter(tensor_names(model) | set(index.nodes))
    for node in model.graph.node:
        if node.name in phases:
            new = phases[node.name]
            for place, (part, moves) in enumerate((("phases", new.data), ("kernel_phases", new.weight))):
                node.input[place] = _moved(writer, f"{node.name}_{part}", index.producers[node.input[place]], moves)
            set_window(node, new.kernel, [1, 1], new.pads)
        writer.nodes.append(node)
    replace_nodes(model, writer.nodes)
    model.graph.initializer.extend(writer.initializers)
    drop_dead(model)
    drop_annotations(model)


def _phases(conv: NodeProto, dims: Sequence[int], sizes: Sequence[Size], rule: ChannelPadding) -> Phases | None:
    """What a convolution becomes; None where its input has no whole blocks, or zero channels cost clearly less."""
    strides = window_numbers(conv, "strides", 1, 2)
    pads = explicit_pads(conv, dims[2:], sizes)
    pixels = [size for size in sizes[2:] if isinstance(size, int)]
    if pads is None or len(pixels) != 2 or any(size % step for size, step in zip(pixels, strides, strict=True)):
        return None
    axes = [_in_blocks(*numbers) for numbers in zip(pixels, dims[2:], strides, pads[:2], pads[2:], strict=True)]
    leads, blocks, before, behind = zip(*axes, strict=True)
    filled = [count * step for count, step in zip(blocks, strides, strict=True)]
    products = dims[1] * math.prod(filled)
    if dims[0] * (products - (dims[1] + -dims[1] % rule.inputs) * math.prod(dims[2:])) > _MOST_EXTRA:
        return None
    rest = [size - length - lead for size, length, lead in zip(filled, dims[2:], leads, strict=True)]
    weight = _weight_moves(dims[0], dims[1], strides, blocks, [0, 0, *leads, 0, 0, *rest])
    return Phases(_data_moves(dims[1], pixels, strides), weight, tuple(blocks), (*before, *behind))


def _in_blocks(size: int, length: int, stride: int, before: int, behind: int) -> tuple[int, int, int, int]:
    """Along one axis: zeros in front of the kernel; in blocks, the kernel's length and the padding at both ends."""
    lead = -before % stride
    blocks = -(-(length + lead) // stride)
    results = (size + before + behind - length) // stride + 1
    start = (before + lead) // stride
    return lead, blocks, start, results - 1 + blocks - start - size // stride


def _data_moves(channels: int, pixels: Sequence[int], strides: Sequence[int]) -> tuple[Move, ...]:
    rows, columns = strides
    height, width = pixels[0] // rows, pixels[1] // columns
    apart: list[Move] = [
        ("Reshape", "rows", [0, channels, height, rows, pixels[1]]),
        ("Transpose", "rows_apart", [0, 1, 3, 2, 4]),
        ("Reshape", "rows_stacked", [0, channels * rows, height, pixels[1]]),
    ]
    return (
        *(apart if rows > 1 else []),
        ("Transpose", "channels_last", [0, 2, 3, 1]),
        ("Reshape", "blocks", [0, height, width, columns * channels * rows]),
        ("Transpose", "channels_first", [0, 3, 1, 2]),
    )


def _weight_moves(
    outputs: int, channels: int, strides: Sequence[int], blocks: Sequence[int], amounts: list[int]
) -> tuple[Move, ...]:
    (rows, columns), (height, width) = strides, blocks
    return (
        *([("Pad", "pad", amounts)] if any(amounts) else []),
        ("Reshape", "split", [outputs, channels, height, rows, width, columns]),
        ("Transpose", "ordered", [0, 5, 1, 3, 2, 4]),
        ("Reshape", "joined", [outputs, columns * channels * rows, height, width]),
    )


def _moved(writer: GraphWriter, owner: str, dequantize: NodeProto, moves: Sequence[Move]) -> str:
    """Writes moves of integers and their Dequantize; returns the name of the result."""
    value = dequantize.input[0]
    for op_type, part, numbers in moves:
        result = writer.name(owner, part)
        if op_type == "Transpose":
            writer.node(op_type, [value], [result], result, perm=numbers)
        else:
            listed = writer.constant(owner, f"{part}_numbers", np.array(numbers, np.int64))
            writer.node(op_type, [value, listed], [result], result)
        value = result
    copy = NodeProto()
    copy.CopyFrom(dequantize)
    copy.name, result = writer.name(owner, "dequantize"), writer.name(owner, "dequantized")
    copy.input[0], copy.output[0] = value, result
    writer.nodes.append(copy)
    return result

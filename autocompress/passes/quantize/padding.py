"""Zero channels that make an integer convolution faster.

Integer kernels of convolutions read some input channels at a time.  Where the input has no multiple of them (the three
of an image), a slower kernel runs.  With zero channels added to both the input x and the weight w, the same sums come
out, number by number (z is the zero point of x; that of w is 0):

    y = sum over channels of w (x - z)  +  sum over added channels of 0 (z - z)

The weight lies in the file as it was, behind a Pad of a constant, which runtimes compute once, when they load the
model: so what is trained, rounded, counted or looked at has the shape that it has without padding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from autocompress.graph.index import GraphIndex
from autocompress.graph.inference import drop_annotations
from autocompress.graph.rewrite import drop_dead, replace_nodes, tensor_names
from autocompress.passes.quantize.units import Unit
from autocompress.passes.quantize.weights import conv_groups
from autocompress.passes.quantize.writer import GraphWriter
from autocompress.runtimes.protocol import ChannelPadding

_MULTIPLYING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def worth_padding(index: GraphIndex, units: Sequence[Unit], rule: ChannelPadding) -> dict[str, tuple[int, ...]]:
    """Convolutions that are faster with zero channels, if they are int8 and what they read was float.

    Args:
        index: the float graph.
        units: its units.
        rule: what the runtime rewards.

    Returns:
        Node name -> what is to be added to each axis of its input, as Pad takes it.
    """
    found: dict[str, tuple[int, ...]] = {}
    for unit in units:
        if unit.op_type != "Conv" or unit.weight is None or conv_groups(index.nodes[unit.name]) != 1:
            continue
        outputs, inputs, *kernel = index.initializers[unit.weight].dims
        added = -inputs % rule.inputs
        fits = outputs % rule.outputs == 0 and outputs >= rule.least_outputs
        if added and fits and added * math.prod(kernel) <= rule.most_zeros and not is_channels_last(index, unit):
            found[unit.name] = (0,) * (len(kernel) + 3) + (added,) + (0,) * len(kernel)
    return found


def pad_channels(model: onnx.ModelProto, added: Mapping[str, Sequence[int]], rule: ChannelPadding) -> None:
    """Pads inputs and weights of convolutions in a quantized model, in place.

    Args:
        model: with Q/DQ pairs.
        added: node name of a convolution -> what Pad adds to its input; a Quantize and a Dequantize stand before it.
        rule: of the runtime.
    """
    index = GraphIndex(model)
    writer = GraphWriter(tensor_names(model) | set(index.nodes))
    amounts = {key: np.array(key, np.int64) for key in {tuple(each) for each in added.values()}}
    weights = {index.producers[index.nodes[name].input[1]].name: name for name in added}
    for node in model.graph.node:
        if node.name in weights:
            owner = weights[node.name]
            node.input[0] = _padded(writer, f"{owner}_weight", owner, node.input[0], amounts[tuple(added[owner])])
        if node.name in added:
            node.input[0] = _padded_input(writer, index, node, amounts[tuple(added[node.name])], rule)
        writer.nodes.append(node)
    replace_nodes(model, writer.nodes)
    model.graph.initializer.extend(writer.initializers)
    drop_dead(model)
    drop_annotations(model)  # the shapes of weights have changed


def _padded_input(
    writer: GraphWriter,
    index: GraphIndex,
    conv: onnx.NodeProto,
    amounts: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    rule: ChannelPadding,
) -> str:
    """Writes a padded copy of what a convolution reads; returns its name."""
    dequantize = index.producers[conv.input[0]]
    quantize = index.producers[dequantize.input[0]]
    scale, zero_point = dequantize.input[1:3]
    if index.weight(zero_point).dtype.name in rule.between:
        integers = _padded(writer, conv.name, conv.name, dequantize.input[0], amounts, zero_point)
    else:
        floats = _padded(writer, conv.name, conv.name, quantize.input[0], amounts)
        integers = writer.name(conv.name, "padded_quantized")
        name = writer.name(conv.name, "pad_quantize")
        writer.node("QuantizeLinear", [floats, scale, zero_point], [integers], name)
    result = writer.name(conv.name, "padded_dequantized")
    writer.node("DequantizeLinear", [integers, scale, zero_point], [result], writer.name(conv.name, "pad_dequantize"))
    return result


def _padded(
    writer: GraphWriter,
    owner: str,
    conv: str,
    source: str,
    amounts: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    *value: str,
) -> str:
    result = writer.name(owner, "padded")
    inputs = [source, writer.constant(conv, "padding", amounts), *value]
    writer.node("Pad", inputs, [result], writer.name(owner, "pad"))
    return result


def is_channels_last(index: GraphIndex, unit: Unit) -> bool:
    """Whether a Transpose stands before the input: runtimes move it behind the Pad, which then adds to every pixel."""
    node = index.producers.get(unit.inputs[0])
    while node is not None and node.op_type not in _MULTIPLYING:
        if node.op_type == "Transpose":
            return True
        node = next((index.producers[name] for name in node.input if name in index.producers), None)
    return False

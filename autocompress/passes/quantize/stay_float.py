"""Layers that are to stay float, and how they do.

Some runtimes quantize the weights of a float layer on their own, per tensor, where it reads a Dequantize and a
Quantize reads it: a layer kept in float because int8 hurts would be quantized after all, and worse than here.  They
leave a layer alone that reads a Dequantize per channel, so such layers get one, with the same scale for every channel:
the same numbers at the same speed.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx

from autocompress.graph.index import GraphIndex, attribute
from autocompress.passes.quantize.weights import conv_groups
from autocompress.runtimes.protocol import QuantizationRules


def guarded_layers(
    index: GraphIndex, int8_nodes: Collection[str], rules: QuantizationRules
) -> dict[str, tuple[int, int]]:
    """Float layers that the runtime would quantize: node name -> axis and number of its input channels.

    Args:
        index: the graph.
        int8_nodes: names of the nodes that are quantized anyway.
        rules: names the op types that the runtime quantizes on its own.
    """
    found: dict[str, tuple[int, int]] = {}
    for node in index.graph.node:
        if node.domain or node.op_type not in rules.requantized_ops or node.name in int8_nodes:
            continue
        if index.is_constant(node.input[1]) and not index.is_constant(node.input[0]):
            found[node.name] = _input_channels(node, index.initializers[node.input[1]])
    return found


def _input_channels(node: onnx.NodeProto, weight: onnx.TensorProto) -> tuple[int, int]:
    if node.op_type == "Conv":
        return 1, int(weight.dims[1]) * conv_groups(node)
    if node.op_type == "Gemm":
        return (0 if attribute(node, "transA", 0) else 1), int(weight.dims[1 if attribute(node, "transB", 0) else 0])
    return 1, int(weight.dims[0])

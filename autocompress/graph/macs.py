"""Multiply-accumulates of one operator, exact for its shapes.

    convolution            output elements x (input channels / groups) x kernel elements
    transposed convolution input elements x (output channels / groups) x kernel elements
    matrix product         output elements x contracted length
    LSTM, GRU, RNN         directions x steps x batch x gates x hidden x (inputs + hidden)
    Einsum of two          product of the sizes of all its indices

Padding counts as work, as is usual; biases, peepholes and element-wise operators count 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from onnx import NodeProto

Shapes = Mapping[str, tuple[int, ...]]


def multiply_accumulates(node: NodeProto, shapes: Shapes) -> int:
    """How many multiply-accumulates a node takes.

    Args:
        node: any operator, quantized and ONNX Runtime's fused forms included.
        shapes: sizes of all its operands and results.

    Returns:
        0 for operators that are neither matrix product, convolution nor recurrent.
    """
    rule = _RULES.get(node.op_type)
    return rule(node, shapes) if rule else 0


def _convolution(weight: int) -> Callable[[NodeProto, Shapes], int]:
    def macs(node: NodeProto, shapes: Shapes) -> int:
        kernel = shapes[node.input[weight]]  # (output channels, input channels / groups, *kernel)
        return math.prod(shapes[node.output[0]]) * math.prod(kernel[1:])

    return macs


def _transposed_convolution(node: NodeProto, shapes: Shapes) -> int:
    kernel = shapes[node.input[1]]  # (input channels, output channels / groups, *kernel)
    return math.prod(shapes[node.input[0]]) * math.prod(kernel[1:])


def _matrix_product(first: int) -> Callable[[NodeProto, Shapes], int]:
    def macs(node: NodeProto, shapes: Shapes) -> int:
        return math.prod(shapes[node.output[0]]) * shapes[node.input[first]][-1]

    return macs


def _gemm(node: NodeProto, shapes: Shapes) -> int:
    first = shapes[node.input[0]]
    contracted = first[0] if _integer(node, "transA") else first[1]
    return math.prod(shapes[node.output[0]]) * contracted


def _fused_matmul(node: NodeProto, shapes: Shapes) -> int:
    first = shapes[node.input[0]]
    contracted = first[-2] if _integer(node, "transA") else first[-1]
    return math.prod(shapes[node.output[0]]) * contracted


def _recurrent(gates: int) -> Callable[[NodeProto, Shapes], int]:
    def macs(node: NodeProto, shapes: Shapes) -> int:
        sequence = shapes[node.input[0]]  # (steps, batch, inputs), the first two swapped where layout is 1
        directions, _, inputs = shapes[node.input[1]]
        hidden = shapes[node.input[2]][2]
        return directions * sequence[0] * sequence[1] * gates * hidden * (inputs + hidden)

    return macs


def _dynamic_lstm(node: NodeProto, shapes: Shapes) -> int:
    steps, batch = shapes[node.input[0]][:2]
    directions, inputs, gated = shapes[node.input[1]]  # weights transposed against those of LSTM
    return directions * steps * batch * gated * (inputs + shapes[node.input[2]][1])


def _einsum(node: NodeProto, shapes: Shapes) -> int:
    equation = next((a.s.decode() for a in node.attribute if a.name == "equation"), "").replace(" ", "")
    terms = equation.split("->")[0].split(",")
    if len(terms) != 2 or "." in equation:
        return 0 if len(terms) < 2 else math.prod(shapes[node.output[0]])
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        for letter, size in zip(term, shapes[name], strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return math.prod(sizes.values())


def _integer(node: NodeProto, name: str) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)


def _nbits(node: NodeProto, shapes: Shapes) -> int:
    return math.prod(shapes[node.output[0]]) * _integer(node, "K")


_RULES: dict[str, Callable[[NodeProto, Shapes], int]] = {
    "Conv": _convolution(1),
    "FusedConv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "FusedGemm": _gemm,
    "QGemm": _gemm,
    "MatMul": _matrix_product(0),
    "MatMulInteger": _matrix_product(0),
    "QLinearMatMul": _matrix_product(0),
    "DynamicQuantizeMatMul": _matrix_product(0),
    "MatMulIntegerToFloat": _matrix_product(0),
    "FusedMatMul": _fused_matmul,
    "MatMulNBits": _nbits,
    "LSTM": _recurrent(4),
    "GRU": _recurrent(3),
    "RNN": _recurrent(1),
    "DynamicQuantizeLSTM": _dynamic_lstm,
    "Einsum": _einsum,
}

"""A chain of convolutions with a classifier at its end, for runs that change weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUTS, CLASSES = 8, 6
Arrays = tuple[np.ndarray, np.ndarray]


def convolution_chain(
    name: str, width: int, depth: int, size: int, drawn: Callable[[np.random.Generator, int], Arrays]
) -> onnx.ModelProto:
    """``depth`` convolutions of ``width`` channels on images of ``size``; ``drawn`` makes weight and bias of each."""
    rng = np.random.default_rng(5)
    weights, nodes, read, inputs = [], [], "x", INPUTS
    for i in range(depth):
        weight, bias = drawn(rng, inputs)
        weights += [
            numpy_helper.from_array(a.astype(np.float32), f"{kind}{i}") for a, kind in ((weight, "w"), (bias, "b"))
        ]
        nodes.append(helper.make_node("Conv", [read, f"w{i}", f"b{i}"], [f"c{i}"], f"conv{i}", pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], f"relu{i}"))
        read, inputs = f"r{i}", width
    weights.append(numpy_helper.from_array(rng.standard_normal((width, CLASSES)).astype(np.float32), "head"))
    nodes += [
        helper.make_node("GlobalAveragePool", [read], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "head"], ["scores"], "gemm"),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", INPUTS, size, size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

"""Small fixed models whose time says how fast, and how steadily, the device runs."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def float_product(size: int) -> bytes:
    """A float32 matrix product of ``size`` cubed multiply-adds; input "x" of shape (size, size)."""
    weight = numpy_helper.from_array(np.ones((size, size), np.float32), "w")
    return _model(helper.make_node("MatMul", ["x", "w"], ["y"]), TensorProto.FLOAT, (size, size), [weight])


def integer_product(size: int) -> bytes:
    """The same with uint8 activations and int8 weights."""
    weight = numpy_helper.from_array(np.ones((size, size), np.int8), "w")
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    return _model(node, TensorProto.UINT8, (size, size), [weight], TensorProto.INT32)


def elementwise(elements: int) -> bytes:
    """Reads and writes ``elements`` floats; input "x" of shape (elements,)."""
    return _model(helper.make_node("Abs", ["x"], ["y"]), TensorProto.FLOAT, (elements,), [])


def _model(
    node: onnx.NodeProto,
    dtype: int,
    shape: tuple[int, ...],
    weights: list[onnx.TensorProto],
    result: int = TensorProto.FLOAT,
) -> bytes:
    graph = helper.make_graph(
        [node],
        "reference",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", result, None)],
        weights,
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())

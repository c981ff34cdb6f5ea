"""Small fixed models whose time says how fast, and how steadily, the device runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper


def float_product(size: int) -> bytes:
    """A float32 matrix product of ``size`` cubed multiply-adds; input "x" of shape (size, size)."""
    weight = np.ones((size, size), np.float32)
    return _model([helper.make_node("MatMul", ["x", "w"], ["y"])], (size, size), {"w": weight})


def integer_product(size: int) -> bytes:
    """The same with uint8 activations and int8 weights, as QuantizeLinear/DequantizeLinear pairs around the product.

    Every runtime with integer kernels takes this form; MatMulInteger is computed in float by some.
    """
    constants: dict[str, npt.NDArray[np.generic]] = {
        "scale": np.asarray(0.02, np.float32),
        "zero": np.asarray(128, np.uint8),
        "w": np.ones((size, size), np.int8),
        "scales": np.full(size, 0.01, np.float32),
        "zeros": np.zeros(size, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["quantized"]),
        helper.make_node("DequantizeLinear", ["quantized", "scale", "zero"], ["dequantized"]),
        helper.make_node("DequantizeLinear", ["w", "scales", "zeros"], ["weight"], axis=1),
        helper.make_node("MatMul", ["dequantized", "weight"], ["y"]),
    ]
    return _model(nodes, (size, size), constants)


def elementwise(elements: int) -> bytes:
    """Reads and writes ``elements`` floats; input "x" of shape (elements,)."""
    return _model([helper.make_node("Abs", ["x"], ["y"])], (elements,), {})


def _model(
    nodes: Sequence[onnx.NodeProto], shape: tuple[int, ...], constants: Mapping[str, npt.NDArray[np.generic]]
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from autocompress.graph.quantized import has_weights, is_quantized


def test_float_network(network):
    assert not is_quantized(network)
    assert has_weights(network)


@pytest.mark.parametrize(
    ("op", "domain"),
    [
        ("QuantizeLinear", ""),
        ("DequantizeLinear", "com.microsoft"),
        ("QLinearConv", ""),
        ("QLinearAdd", "com.microsoft"),
        ("QGemm", "com.microsoft"),
        ("MatMulInteger", ""),
        ("DynamicQuantizeMatMul", "com.microsoft"),
        ("MatMulNBits", "com.microsoft"),
    ],
)
def test_quantized_operators(network, op, domain):
    network.graph.node[1].op_type, network.graph.node[1].domain = op, domain
    assert is_quantized(network)


def test_quantization_inside_a_body(graph_model):
    inner = helper.make_graph([helper.make_node("QuantizeLinear", ["x", "s"], ["q"])], "b", [], [])
    model = graph_model([helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)], {}, {"y": []})
    assert is_quantized(model)


def test_nothing_to_compress(graph_model):
    plain = graph_model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": [2]})
    assert not has_weights(plain)
    shapes_only = graph_model(
        [helper.make_node("MatMul", ["x", "x"], ["y"])], {"x": [2, 2]}, {"y": [2, 2]}, {"k": np.ones((2, 2), np.int64)}
    )
    assert not has_weights(shapes_only)


def test_weights_in_constant_nodes(graph_model):
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(np.eye(2, dtype=np.float32)))
    model = graph_model([constant, helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [2, 2]}, {"y": [2, 2]})
    assert has_weights(model)

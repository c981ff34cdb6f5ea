"""Multiply-accumulates against counts by hand, or by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper

from autocompress.errors import ModelError
from autocompress.graph.cost import model_cost
from autocompress.graph.normalize import normalize
from autocompress.graph.shapes import bind


def cost(model):
    return model_cost(normalize(model))


def f32(*shape):
    return np.zeros(shape, np.float32)


def test_a_small_network_by_hand(network):
    result = model_cost(normalize(bind(network, batch=2)))
    assert result.nodes["conv"].macs == 2 * 16 * 8 * 8 * 3 * 9
    assert result.nodes["gemm"].macs == 2 * 5 * 16
    assert result.nodes["relu"].macs == 0
    assert result.total.macs == result.nodes["conv"].macs + result.nodes["gemm"].macs
    assert result.total.parameters == 16 * 27 + 16 + 5 * 16 + 5
    assert result.total.weight_bytes == 4 * result.total.parameters
    assert result.nodes["relu"].activation_bytes == 2 * (2 * 16 * 8 * 8) * 4
    assert result.nodes["conv"].activation_bytes == (2 * 3 * 64 + 2 * 16 * 64) * 4


@pytest.mark.parametrize(("groups", "stride", "dilation"), [(1, 1, 1), (2, 2, 1), (4, 1, 2)])
def test_convolution_by_brute_force(graph_model, groups, stride, dilation):
    """Counts every (output, kernel tap, input channel) triple, padding included."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="c", group=groups, strides=[stride] * 2,
                            dilations=[dilation] * 2, pads=[1, 1, 1, 1])  # fmt: skip
    model = graph_model([node], {"x": [1, 4, 7, 6]}, {"y": None}, {"w": f32(8, 4 // groups, 3, 3)})

    def size(n):
        return (n + 2 - dilation * 2 - 1) // stride + 1

    count = sum(1 for _ in itertools.product(range(8), range(size(7)), range(size(6)), range(4 // groups), range(9)))
    assert cost(model).nodes["c"].macs == count


def test_transposed_convolution(graph_model):
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="c", group=2, strides=[2, 2])
    model = graph_model([node], {"x": [1, 4, 5, 5]}, {"y": None}, {"w": f32(4, 3, 2, 2)})
    assert cost(model).nodes["c"].macs == 4 * 25 * 3 * 4


def test_matrix_products(graph_model):
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["p"], name="batched"),
        helper.make_node("Gemm", ["g", "h"], ["q"], name="gemm", transA=1),
        helper.make_node("Einsum", ["a", "b"], ["r"], name="einsum", equation="nij,njk->nik"),
    ]
    inputs = {"a": [6, 3, 4], "b": [6, 4, 5], "g": [7, 2], "h": [7, 3]}
    nodes_cost = cost(graph_model(nodes, inputs, {"p": None, "q": None, "r": None})).nodes
    assert nodes_cost["batched"].macs == nodes_cost["einsum"].macs == 6 * 3 * 4 * 5
    assert nodes_cost["gemm"].macs == 2 * 7 * 3


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers(graph_model, op, gates, directions):
    steps, batch, inputs, hidden = 5, 2, 3, 4
    direction = "bidirectional" if directions == 2 else "forward"
    node = helper.make_node(op, ["x", "w", "r"], ["y"], name="c", hidden_size=hidden, direction=direction)
    weights = {"w": f32(directions, gates * hidden, inputs), "r": f32(directions, gates * hidden, hidden)}
    result = cost(graph_model([node], {"x": [steps, batch, inputs]}, {"y": None}, weights))
    per_step = gates * (hidden * inputs + hidden * hidden)
    assert result.nodes["c"].macs == directions * steps * batch * per_step
    assert result.total.parameters == directions * per_step


def test_quantized_forms_count_like_float(graph_model):
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 4, 6, 6])
    y = helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 8, 4, 4])
    node = helper.make_node("QLinearConv", ["x", "s", "zx", "w", "s", "zw", "s", "zx"], ["y"], name="q")
    weights = {
        "s": np.array(0.1, np.float32),
        "zx": np.array(0, np.uint8),
        "zw": np.array(0, np.int8),
        "w": np.zeros((8, 4, 3, 3), np.int8),
    }
    result = cost(graph_model([node], {"x": x}, {"y": y}, weights))
    assert result.nodes["q"].macs == 8 * 16 * 4 * 9
    assert result.total.weight_bytes == 8 * 36 + 4 + 1 + 1


def test_shared_weights_count_once_in_the_total(graph_model):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    result = cost(graph_model(nodes, {"x": [1, 4]}, {"y": None}, {"w": f32(4, 4)}))
    assert [c.parameters for c in result.nodes.values()] == [16, 16]
    assert result.total.parameters == 16


def test_shape_constants_are_no_parameters(graph_model):
    model = graph_model(
        [helper.make_node("Reshape", ["x", "s"], ["y"])], {"x": [2, 2]}, {"y": None}, {"s": np.array([4])}
    )
    assert cost(model).total.parameters == 0
    assert cost(model).total.weight_bytes == 8


def test_dynamic_sizes_are_an_error(network):
    with pytest.raises(ModelError, match="--shape"):
        cost(network)

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from autocompress.errors import ModelError
from autocompress.graph.model import input_specs, load_model
from autocompress.graph.shapes import (
    batch_axes,
    bind,
    bind_batch,
    element_types,
    fix_shapes,
    infer_shapes,
    missing_sizes,
    require_sizes,
    static_shapes,
)


@pytest.fixture
def encoder(graph_model):
    """Two int64 inputs that share the symbols N and L, added and reduced."""
    inputs = {n: helper.make_tensor_value_info(n, TensorProto.INT64, ["N", "L"]) for n in ("ids", "mask")}
    nodes = [
        helper.make_node("Add", ["ids", "mask"], ["s"]),
        helper.make_node("Cast", ["s"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["y"], axes=[1]),
    ]
    return graph_model(nodes, inputs, {"y": ["N", 1]})


def image_model(graph_model, *shape):
    return graph_model([helper.make_node("Relu", ["x"], ["y"])], {"x": list(shape)}, {"y": None})


def test_missing_sizes_and_the_flag_to_give(encoder):
    assert missing_sizes(encoder) == ("ids[L]", "mask[L]")
    with pytest.raises(ModelError, match="--shape ids:NxL"):
        require_sizes(encoder)
    assert missing_sizes(encoder, {"ids": (1, 12)}) == ()
    require_sizes(encoder, {"ids": (1, 12)})


def test_a_symbol_is_fixed_everywhere(encoder, run):
    fixed = fix_shapes(encoder, {"ids": (2, 12)})
    assert [spec.shape for spec in input_specs(fixed)] == [(2, 12), (2, 12)]
    assert [spec.shape for spec in input_specs(encoder)] == [("N", "L"), ("N", "L")]
    assert static_shapes(infer_shapes(fixed))["y"] == (2, 1)
    feeds = {name: np.ones((2, 12), np.int64) for name in ("ids", "mask")}
    assert run(fixed, feeds)[0].shape == (2, 1)


def test_any_size_is_no_symbol_that_sizes_share():
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "?", "?", "height"])
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [value],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    fixed = fix_shapes(helper.make_model(graph), {"x": (1, 3, 48, 192)})
    assert [spec.shape for spec in input_specs(fixed)] == [(1, 3, 48, 192)]


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"other": (1, 2)}, "no input 'other'"),
        ({"ids": (1, 2, 3)}, "2 dimensions"),
        ({"ids": (0, 2)}, "at least 1"),
        ({"ids": (1, 4), "mask": (1, 5)}, "'L' is given as 4"),
    ],
)
def test_shapes_that_do_not_fit(encoder, shapes, words):
    with pytest.raises(ModelError, match=words):
        fix_shapes(encoder, shapes)


def test_a_fixed_size_cannot_be_changed(network):
    with pytest.raises(ModelError, match="fixed size 3 in dimension 1"):
        fix_shapes(network, {"x": (1, 4, 8, 8)})


def test_bind_batch(network):
    assert input_specs(bind_batch(network, 4))[0].shape == (4, 3, 8, 8)
    assert static_shapes(infer_shapes(bind_batch(network, 4)))["y"] == (4, 5)
    with pytest.raises(ModelError, match="at least 1"):
        bind_batch(network, 0)
    with pytest.raises(ModelError, match="fixed batch of 4, not 2"):
        bind_batch(bind_batch(network, 4), 2)


def test_bind_gives_numbers_to_all(encoder, graph_model):
    assert [spec.shape for spec in input_specs(bind(encoder, {"mask": (3, 7)}))] == [(3, 7), (3, 7)]
    anonymous = image_model(graph_model, None, 3, 4, 4)
    assert input_specs(bind(anonymous, batch=2))[0].shape == (2, 3, 4, 4)
    with pytest.raises(ModelError, match=r"x\[2\].*--shape x:Dx3xDx4"):
        bind(image_model(graph_model, None, 3, None, 4))


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        ({"x": ("N", 3, "H", "W")}, {"x": 0}),
        ({"x": (1, 3, "H", "W")}, {"x": None}),
        ({"x": ("T", "batch", 8)}, {"x": 1}),
        ({"x": (5, "N", 8), "lengths": ("N",)}, {"x": 1, "lengths": 0}),
        ({"x": ("s0", 8), "h": (1, "s0", 4)}, {"x": 0, "h": 1}),
        ({"wave": ("T",)}, {"wave": None}),
        ({"x": (2, 3)}, {"x": None}),
    ],
)
def test_which_dimension_is_the_batch(graph_model, shapes, axes):
    model = graph_model([helper.make_node("Relu", [next(iter(shapes))], ["y"])], shapes, {"y": None})
    assert batch_axes(input_specs(model)) == axes


def test_stale_annotations_are_replaced(network):
    network.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [7, 16, 1, 1]))
    network.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 9
    shapes = static_shapes(infer_shapes(bind_batch(network, 2)))
    assert shapes["c"] == (2, 16, 8, 8)
    assert shapes["y"] == (2, 5)


def test_shape_arithmetic_is_followed(graph_model, run):
    """A Range whose length depends on an input's size: plain inference leaves it open."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "one"], ["length"]),
        helper.make_node("Cast", ["length"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["as_float"], ["limit"], to=TensorProto.INT64),
        helper.make_node("Range", ["zero", "limit", "step"], ["positions"]),
        helper.make_node("Cast", ["positions"], ["p"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "p"], ["y"]),
    ]
    weights = {"one": np.array(1), "zero": np.array(0), "step": np.array(1)}
    model = load_model(graph_model(nodes, {"x": ["N", "L"]}, {"y": None}, weights))
    inferred = infer_shapes(bind(model, {"x": (2, 6)}))
    shapes = static_shapes(inferred)
    assert shapes["positions"] == (6,)
    assert shapes["y"] == (2, 6)
    assert element_types(inferred)["positions"] == TensorProto.INT64
    assert [node.op_type for node in inferred.graph.node] == [node.op_type for node in nodes]
    assert run(inferred, {"x": np.zeros((2, 6), np.float32)})[0].shape == (2, 6)


def test_inference_does_not_change_its_input(network):
    before = network.SerializeToString()
    infer_shapes(network)
    assert network.SerializeToString() == before


def test_operators_outside_the_standard_keep_their_annotations(network):
    network.graph.node[1].op_type, network.graph.node[1].domain = "BiasGelu", "com.microsoft"
    network.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    network.graph.value_info.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, ["N", 16, 8, 8]))
    shapes = static_shapes(infer_shapes(bind_batch(network, 2)))
    assert shapes["r"] == (2, 16, 8, 8)
    assert shapes["y"] == (2, 5)


def test_empty_results_are_static(graph_model):
    nodes = [helper.make_node("Slice", ["x", "a", "a"], ["e"]), helper.make_node("Concat", ["e", "x"], ["y"], axis=0)]
    model = graph_model(nodes, {"x": [3, 2]}, {"y": None}, {"a": np.array([0])})
    assert static_shapes(infer_shapes(model))["e"] == (0, 2)


def test_weights_listed_as_inputs_are_no_inputs(network):
    network.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [16, 3, 3, 3]))
    assert missing_sizes(network) == ()
    assert isinstance(bind(network, batch=2), onnx.ModelProto)


def test_contradicting_shapes_are_left_open(graph_model):
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    weights = {"s": np.array([2, 3]), "w": np.ones((4, 5), np.float32)}
    shapes = static_shapes(infer_shapes(graph_model(nodes, {"x": [6]}, {"y": None}, weights)))
    assert shapes["r"] == (2, 3)
    assert "y" not in shapes

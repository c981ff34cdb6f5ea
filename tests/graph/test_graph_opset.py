"""Raising and lowering the operator set, against ONNX Runtime on the original."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from autocompress.errors import ModelError
from autocompress.graph.model import load_model, model_bytes
from autocompress.graph.normalize import normalize
from autocompress.graph.opset import lower_opset, raise_opset
from autocompress.graph.walk import opset_of


def random_input(*shape):
    return {"x": np.random.default_rng(5).normal(size=shape).astype(np.float32)}


def check(run, model, feeds):
    normal = normalize(load_model(model))
    assert 13 <= opset_of(normal) <= 21
    assert model_bytes(normalize(load_model(model))) == model_bytes(normal)
    for old, new in zip(run(model, feeds), run(normal, feeds), strict=True):
        assert new.shape == old.shape
        np.testing.assert_allclose(new, old, rtol=1e-6, atol=1e-6)
    return normal


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 17, 21, 22, 23])
def test_a_network_of_any_opset(network_at, run, opset):
    normal = check(run, network_at(opset), random_input(2, 3, 8, 8))
    assert opset_of(normal) == min(max(opset, 13), 21)
    assert [node.name for node in normal.graph.node] == ["conv", "relu", "pool", "flatten", "gemm"]


def test_attributes_that_became_inputs(graph_model, run):
    nodes = [
        helper.make_node("Unsqueeze", ["x"], ["u"], axes=[0]),
        helper.make_node("Split", ["u"], ["a", "b"], axis=2, split=[1, 3]),
        helper.make_node("ReduceSum", ["b"], ["s"], axes=[2], keepdims=1),
        helper.make_node("Concat", ["a", "s"], ["c"], axis=2),
        helper.make_node("Squeeze", ["c"], ["y"], axes=[0]),
    ]
    check(run, graph_model(nodes, {"x": [2, 4]}, {"y": None}, opset=11), random_input(2, 4))


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_softmax_of_old_flattens(graph_model, run, axis):
    node = helper.make_node("Softmax", ["x"], ["y"], axis=axis)
    check(run, graph_model([node], {"x": [2, 3, 4, 5]}, {"y": None}, opset=11), random_input(2, 3, 4, 5))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_detector_style_resize_and_slices(graph_model, run, mode):
    how = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
    if mode == "nearest":
        how["nearest_mode"] = "floor"
    nodes = [
        helper.make_node("Slice", ["x", "zero", "far", "three", "two"], ["s"]),
        helper.make_node("Resize", ["s", "roi", "scales"], ["y"], **how),
    ]
    weights = {
        "zero": np.array([0]),
        "far": np.array([9223372036854775807]),
        "three": np.array([3]),
        "two": np.array([2]),
        "roi": np.zeros(0, np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    check(run, graph_model(nodes, {"x": [1, 2, 4, 6]}, {"y": None}, weights, opset=11), random_input(1, 2, 4, 6))


def test_upsample_pad_clip_and_dropout_of_opset_9(graph_model, run):
    nodes = [
        helper.make_node("Upsample", ["x", "scales"], ["u"], mode="nearest"),
        helper.make_node("Pad", ["u"], ["p"], pads=[0, 0, 1, 2, 0, 0, 0, 1], mode="constant", value=0.5),
        helper.make_node("Clip", ["p"], ["c"], min=-0.5, max=0.75),
        helper.make_node("Dropout", ["c"], ["y"], ratio=0.3),
    ]
    weights = {"scales": np.array([1, 1, 2, 3], np.float32)}
    model = graph_model(nodes, {"x": [1, 2, 3, 3]}, {"y": None}, weights, opset=9)
    normal = check(run, model, random_input(1, 2, 3, 3))
    assert [node.op_type for node in normal.graph.node] == ["Resize", "Pad", "Clip"]


def test_heavy_weights_survive_the_conversion_in_order(graph_model, run):
    rng = np.random.default_rng(0)
    weights = {f"w{i}": rng.normal(size=(64, 64)).astype(np.float32) for i in range(3)}
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("MatMul", ["a", "w1"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["y"]),
    ]
    normal = check(run, graph_model(nodes, {"x": [2, 64]}, {"y": [2, 64]}, weights, opset=10), random_input(2, 64))
    assert [w.name for w in normal.graph.initializer] == ["w0", "w1", "w2"]
    assert [i.name for i in normal.graph.input] == ["x"]


def test_operators_of_the_runtimes_own_domain_survive(graph_model, run):
    nodes = [
        helper.make_node("Gelu", ["x"], ["g"], domain="com.microsoft"),
        helper.make_node("Squeeze", ["g"], ["y"], axes=[0]),
    ]
    model = graph_model(nodes, {"x": [1, 4]}, {"y": [4]}, opset=11)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    normal = check(run, model, random_input(1, 4))
    assert [node.domain for node in normal.graph.node] == ["com.microsoft", ""]


def test_lowering_refuses_what_did_not_exist(graph_model):
    model = graph_model([helper.make_node("Swish", ["x"], ["y"], name="s")], {"x": [2]}, {"y": [2]}, opset=24)
    with pytest.raises(ModelError, match=r"'Swish' \(node 's'\).*opset 21"):
        normalize(load_model(model))


def test_lowering_refuses_a_new_attribute(graph_model):
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E8M0, round_mode="down")
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT8E8M0, [2])
    model = graph_model([node], {"x": [2]}, {"y": y}, opset=24)
    with pytest.raises(ModelError, match="'Cast'"):
        lower_opset(model, 21)


def test_raising_for_later_passes(network):
    assert raise_opset(network, 13) is network
    raised = raise_opset(network, 21)
    assert opset_of(raised) == 21
    assert opset_of(network) == 17

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from autocompress.graph.constants import evaluate, fold_known


def fold(model, shapes=None):
    changed = fold_known(model, shapes or {})
    return changed, {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}


def test_weights_are_combined(graph_model):
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("Mul", ["t", "s"], ["m"]),
        helper.make_node("MatMul", ["x", "m"], ["y"]),
    ]
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    model = graph_model(nodes, {"x": [1, 3]}, {"y": None}, {"w": w, "s": np.array(2, np.float32)})
    changed, weights = fold(model)
    assert changed
    assert [node.op_type for node in model.graph.node] == ["MatMul"]
    np.testing.assert_array_equal(weights["m"], 2 * w.T)


def test_graph_outputs_and_quantizers_stay(graph_model):
    nodes = [
        helper.make_node("Neg", ["w"], ["y"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["z"]),
    ]
    weights = {"w": np.ones(2, np.float32), "q": np.ones((2, 2), np.int8), "s": np.array(0.5, np.float32)}
    changed, _ = fold(graph_model(nodes, {"x": [1, 2]}, {"y": [2], "z": None}, weights))
    assert not changed


def test_known_sizes_of_a_partly_dynamic_tensor(graph_model):
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "one"], ["channels"], axis=0),
        helper.make_node("Slice", ["s", "a", "b"], ["pair"]),
        helper.make_node("Gather", ["s", "zero"], ["batch"], axis=0),
        helper.make_node("Concat", ["batch", "channels"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
        helper.make_node("Expand", ["x", "pair"], ["z"]),
    ]
    weights = {"one": np.array([1]), "zero": np.array([0]), "a": np.array([-2]), "b": np.array([9])}
    model = graph_model(nodes, {"x": ["N", 3, 4, 5]}, {"y": None, "z": None}, weights)
    changed, known = fold(model, {"x": ("N", 3, 4, 5)})
    assert changed
    assert known["channels"].tolist() == [3]
    assert known["pair"].tolist() == [4, 5]
    assert "batch" not in known
    assert [node.op_type for node in model.graph.node] == ["Shape", "Gather", "Concat", "Reshape", "Expand"]


def test_results_that_would_bloat_the_model_stay(graph_model):
    nodes = [helper.make_node("Expand", ["w", "s"], ["e"]), helper.make_node("Add", ["x", "e"], ["y"])]
    weights = {"w": np.ones((1, 1), np.float32), "s": np.array([4096, 4096])}
    model = graph_model(nodes, {"x": [4096, 4096]}, {"y": None}, weights)
    assert not fold(model)[0]


def test_types_are_respected(graph_model):
    nodes = [helper.make_node("Neg", ["w"], ["n"]), helper.make_node("Add", ["x", "n"], ["y"])]
    model = graph_model(nodes, {"x": [2]}, {"y": None}, {"w": np.ones(2, np.float32)})
    assert not fold_known(model, {}, {"n": TensorProto.DOUBLE})
    assert fold_known(model, {}, {"n": TensorProto.FLOAT})


OPERANDS = {
    "Add": 2, "Sub": 2, "Mul": 2, "Div": 2, "Min": 2, "Max": 2, "Neg": 1, "Abs": 1, "Floor": 1, "Ceil": 1, "Sqrt": 1,
    "Exp": 1, "Reciprocal": 1, "Less": 2, "Greater": 2, "Equal": 2,
}  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(op=st.sampled_from(sorted(OPERANDS)), seed=st.integers(0, 1000))
def test_evaluation_equals_the_runtime(op, seed):
    import onnxruntime

    rng = np.random.default_rng(seed)
    values = [rng.uniform(0.5, 3, size=(2, 3)).astype(np.float32) for _ in range(OPERANDS[op])]
    names = [f"a{i}" for i in range(len(values))]
    node = helper.make_node(op, names, ["y"])
    mine = evaluate(node, values, 17)
    assert mine is not None
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 3]) for n in names]
    kind = helper.np_dtype_to_tensor_dtype(mine[0].dtype)
    out = helper.make_tensor_value_info("y", kind, [2, 3])
    model = helper.make_model(
        helper.make_graph([node], "g", infos, [out]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs = session.run(None, dict(zip(names, values, strict=True)))[0]
    np.testing.assert_allclose(mine[0], theirs, rtol=1e-6)


def test_what_the_reference_cannot_do_is_left():
    assert evaluate(helper.make_node("Reshape", ["a", "b"], ["y"]), [np.ones(3), np.array([2])], 17) is None


@pytest.mark.parametrize(("a", "b", "expected"), [(7, 2, 3), (-7, 2, -3), (7, -2, -3)])
def test_integer_division_truncates(a, b, expected):
    result = evaluate(helper.make_node("Div", ["a", "b"], ["y"]), [np.array(a), np.array(b)], 17)
    assert result is not None
    assert result[0] == expected

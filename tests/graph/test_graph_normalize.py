from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from autocompress.errors import ModelError
from autocompress.graph.model import load_model, model_bytes
from autocompress.graph.normalize import normalize
from autocompress.graph.walk import opset_of


def ops(model):
    return [node.op_type for node in model.graph.node]


def random_input(*shape):
    return {"x": np.random.default_rng(3).normal(size=shape).astype(np.float32)}


def same(run, model, feeds):
    before = run(model, feeds)
    after = run(normalize(load_model(model)), feeds)
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-6, atol=1e-6)


def test_keeps_what_is_canonical(network, run):
    normal = normalize(network)
    assert ops(normal) == ops(network)
    assert opset_of(normal) == 17
    assert normal.ir_version == 10
    same(run, network, random_input(2, 3, 8, 8))


def test_is_idempotent_and_deterministic(network):
    once = normalize(network)
    assert model_bytes(normalize(network)) == model_bytes(once)
    assert model_bytes(normalize(once)) == model_bytes(once)


def test_input_is_not_changed(network):
    before = network.SerializeToString()
    normalize(network)
    assert network.SerializeToString() == before


def test_constants_become_weights(graph_model, run):
    value = numpy_helper.from_array(np.array([1.0, 2.0], np.float32))
    nodes = [
        helper.make_node("Constant", [], ["a"], value=value),
        helper.make_node("Constant", [], ["b"], value_float=3.0),
        helper.make_node("Constant", [], ["c"], value_ints=[1, 2]),
        helper.make_node("Add", ["x", "a"], ["p"]),
        helper.make_node("Mul", ["p", "b"], ["q"]),
        helper.make_node("Reshape", ["q", "c"], ["y"]),
    ]
    model = graph_model(nodes, {"x": [1, 2]}, {"y": None})
    normal = normalize(load_model(model))
    assert ops(normal) == ["Add", "Mul", "Reshape"]
    assert {w.name for w in normal.graph.initializer} == {"a", "b", "c"}
    assert all(w.HasField("raw_data") for w in normal.graph.initializer)
    same(run, model, random_input(1, 2))


def test_weights_are_no_inputs_and_unused_ones_go(network):
    for weight in network.graph.initializer:
        network.graph.input.append(helper.make_tensor_value_info(weight.name, TensorProto.FLOAT, list(weight.dims)))
    network.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "spare"))
    normal = normalize(network)
    assert [i.name for i in normal.graph.input] == ["x"]
    assert "spare" not in {w.name for w in normal.graph.initializer}


def test_sparse_weights_become_dense(graph_model):
    model = graph_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 2]})
    values = numpy_helper.from_array(np.array([2.0, 5.0], np.float32), "w")
    indices = numpy_helper.from_array(np.array([[0, 1], [2, 0]], np.int64), "w_indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3, 2]))
    normal = normalize(load_model(model))
    np.testing.assert_array_equal(numpy_helper.to_array(normal.graph.initializer[0]), [[0, 2], [0, 0], [5, 0]])


def test_names_are_unique_and_stable(network):
    network.graph.node[0].name = network.graph.node[1].name = "same"
    network.graph.node[2].name = ""
    normal = normalize(network)
    assert [node.name for node in normal.graph.node] == ["same", "Relu_r", "GlobalAveragePool_p", "flatten", "gemm"]


def test_dead_nodes_go_and_unused_inputs_stay(graph_model):
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Exp", ["x"], ["unused"])]
    normal = normalize(graph_model(nodes, {"x": [2], "z": [2]}, {"y": [2]}))
    assert ops(normal) == ["Relu"]
    assert [i.name for i in normal.graph.input] == ["x", "z"]


def test_unsorted_graphs_are_sorted(network):
    nodes = list(reversed(network.graph.node))
    del network.graph.node[:]
    network.graph.node.extend(nodes)
    assert ops(normalize(network)) == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]


def test_a_cycle_is_an_error(graph_model):
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    with pytest.raises(ModelError, match="cycle"):
        normalize(graph_model(nodes, {"x": [2]}, {"b": [2]}))


IDENTITY_CASES = {
    "inside": ([("Relu", "x", "a"), ("Identity", "a", "b"), ("Exp", "b", "y")], ["y"], ["Relu", "Exp"]),
    "chain": (
        [("Relu", "x", "a"), ("Identity", "a", "b"), ("Identity", "b", "c"), ("Exp", "c", "y")],
        ["y"],
        ["Relu", "Exp"],
    ),
    "to an output": ([("Relu", "x", "a"), ("Identity", "a", "y")], ["y"], ["Relu"]),
    "to an output, read before and after": (
        [("Relu", "x", "a"), ("Identity", "a", "b"), ("Exp", "a", "z"), ("Identity", "a", "y"), ("Neg", "b", "w")],
        ["y", "z", "w"],
        ["Relu", "Exp", "Neg"],
    ),
    "two outputs of one tensor": (
        [("Relu", "x", "a"), ("Identity", "a", "y"), ("Identity", "a", "z")],
        ["y", "z"],
        ["Relu", "Identity"],
    ),
    "of an input": ([("Identity", "x", "y")], ["y"], ["Identity"]),
    "of an output": ([("Relu", "x", "y"), ("Identity", "y", "z")], ["y", "z"], ["Relu", "Identity"]),
}


@pytest.mark.parametrize("case", IDENTITY_CASES)
def test_identities(graph_model, run, case):
    rows, outputs, expected = IDENTITY_CASES[case]
    nodes = [helper.make_node(op, [a], [b]) for op, a, b in rows]
    model = graph_model(nodes, {"x": [2, 3]}, {name: [2, 3] for name in outputs})
    normal = normalize(load_model(model))
    assert ops(normal) == expected
    assert [o.name for o in normal.graph.output] == outputs
    same(run, model, random_input(2, 3))


def test_dropout_goes_at_inference_only(graph_model):
    weights = {"ratio": np.array(0.5, np.float32), "on": np.array(True), "off": np.array(False)}
    for mode, expected in (("", ["Exp"]), ("off", ["Exp"]), ("on", ["Dropout", "Exp"])):
        nodes = [helper.make_node("Dropout", ["x", "ratio", mode], ["d"]), helper.make_node("Exp", ["d"], ["y"])]
        assert ops(normalize(graph_model(nodes, {"x": [2]}, {"y": [2]}, weights))) == expected


def test_bodies_of_control_flow_see_renamed_tensors(graph_model, run):
    def branch(name, op):
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])
        return helper.make_graph([helper.make_node(op, ["alias"], [name])], name, [], [out])

    nodes = [
        helper.make_node("Exp", ["x"], ["e"]),
        helper.make_node("Identity", ["e"], ["alias"]),
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("t", "Neg"), else_branch=branch("f", "Abs")),
    ]
    model = graph_model(nodes, {"x": [2]}, {"y": [2]}, {"zero": np.array(0, np.float32)})
    assert "Identity" not in ops(normalize(load_model(model)))
    for sign in (1, -1):
        same(run, model, {"x": np.array([1, 2], np.float32) * sign})


def test_local_functions_are_inlined(network, run):
    body = [helper.make_node("Add", ["a", "a"], ["t"]), helper.make_node("Relu", ["t"], ["b"])]
    network.functions.append(helper.make_function("local", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    network.opset_import.append(helper.make_opsetid("local", 1))
    network.graph.node[1].op_type, network.graph.node[1].domain = "Twice", "local"
    normal = normalize(load_model(network))
    assert not normal.functions
    assert [(o.domain, o.version) for o in normal.opset_import] == [("", 17)]
    same(run, network, random_input(2, 3, 8, 8))


def test_exporter_notes_are_stripped_and_the_users_are_kept(network):
    network.metadata_props.add(key="labels", value="cat,dog")
    network.graph.node[0].metadata_props.add(key="stack", value="somewhere")
    network.graph.node[0].doc_string = "text"
    normal = normalize(network)
    assert [entry.value for entry in normal.metadata_props] == ["cat,dog"]
    assert not normal.graph.node[0].metadata_props
    assert not normal.graph.node[0].doc_string


def test_a_weight_may_be_an_output(graph_model, run):
    nodes = [
        helper.make_node("Constant", [], ["k"], value_floats=[1.0, 2.0]),
        helper.make_node("Add", ["x", "k"], ["y"]),
    ]
    model = graph_model(nodes, {"x": [2]}, {"y": [2], "k": [2]})
    same(run, model, random_input(2))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random_chains_with_aliases(data, tmp_path_factory):
    """Any tree of elementwise operators and Identities, any choice of outputs: same function, no alias inside."""
    from hypothesis import assume

    tensors, nodes = ["x"], []
    for position in range(data.draw(st.integers(1, 10))):
        op = data.draw(st.sampled_from(["Identity", "Relu", "Neg", "Identity"]))
        nodes.append(helper.make_node(op, [data.draw(st.sampled_from(tensors))], [f"t{position}"]))
        tensors.append(f"t{position}")
    outputs = data.draw(st.lists(st.sampled_from(tensors[1:]), min_size=1, max_size=4, unique=True))
    assume(outputs)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ["x", *outputs]]
    model = helper.make_model(helper.make_graph(nodes, "g", value[:1], value[1:]), ir_version=8)
    model.opset_import[0].version = 17
    import onnxruntime

    normal = normalize(load_model(model))
    feeds = {"x": np.array([-1.0, 0.5, 2.0], np.float32)}
    results = [
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(outputs, feeds)
        for m in (model, normal)
    ]
    for old, new in zip(*results, strict=True):
        np.testing.assert_array_equal(new, old)
    for node in normal.graph.node:
        if node.op_type == "Identity":
            assert node.output[0] in outputs


def test_checker_accepts_the_result(network):
    onnx.checker.check_model(normalize(network), full_check=True)

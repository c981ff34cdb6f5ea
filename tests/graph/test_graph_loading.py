from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from autocompress.errors import ModelError
from autocompress.graph.model import input_specs, load_model, output_specs


def refused(source, *words):
    with pytest.raises(ModelError) as caught:
        load_model(source)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    for word in words:
        assert word in message, message
    return message


def test_loads_from_path_text_and_memory(network, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(network, path)
    for source in (path, str(path), network):
        loaded = load_model(source)
        assert loaded.SerializeToString() == network.SerializeToString()


def test_a_given_model_is_copied(network):
    before = network.SerializeToString()
    loaded = load_model(network)
    loaded.graph.node[0].name = "changed"
    assert network.SerializeToString() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("empty",)),
        (b"hello, this is a text", ("not an ONNX file",)),
        (b"PK\x03\x04 a zip archive", ("not an ONNX file",)),
        (bytes(range(256)) * 10, ("not an ONNX file",)),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, ("not an ONNX file",)),
    ],
)
def test_foreign_files(tmp_path, content, words):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refused(path, *words)


def test_missing_file_and_folder(tmp_path):
    refused(tmp_path / "no.onnx", "does not exist")
    refused(tmp_path, "is a folder")
    refused(3.5, "path")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_truncated_file_is_always_refused(data, tmp_path_factory):
    model = _linear()
    whole = model.SerializeToString()
    length = data.draw(st.integers(1, len(whole) - 1))
    path = tmp_path_factory.mktemp("cut") / "model.onnx"
    path.write_bytes(whole[:length])
    message = refused(path)
    assert re.search("truncated|damaged|not an ONNX", message)


def test_truncated_names_the_place(network, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(network.SerializeToString()[:700])
    refused(path, "truncated", "700 bytes")


def test_damaged_in_the_middle(network, tmp_path):
    whole = bytearray(network.SerializeToString())
    whole[40:60] = b"\xff" * 20
    path = tmp_path / "model.onnx"
    path.write_bytes(whole)
    refused(path)


def test_empty_graph_and_outputs(network):
    bare = onnx.ModelProto()
    bare.CopyFrom(network)
    del bare.graph.node[:]
    refused(bare, "empty")
    silent = onnx.ModelProto()
    silent.CopyFrom(network)
    del silent.graph.output[:]
    refused(silent, "no outputs")
    network.graph.output[0].name = "nowhere"
    refused(network, "'nowhere'", "computed by no operator")


def test_opsets(network):
    network.opset_import[0].version = 999
    refused(network, "opset 999")
    del network.opset_import[:]
    refused(network, "operator set")


def test_unknown_operators_are_named(network):
    network.graph.node[1].op_type = "Relux"
    refused(network, "'Relux'", "'relu'")
    network.graph.node[1].domain = "my.company"
    network.opset_import.append(helper.make_opsetid("my.company", 1))
    refused(network, "'Relux'", "'my.company'")


def test_operator_newer_than_the_opset(network_at):
    model = network_at(13)
    model.graph.node[1].op_type = "Mish"
    refused(model, "'Mish'", "opset 13")


def test_operator_that_was_removed(graph_model):
    node = helper.make_node("Upsample", ["x", "s"], ["y"], name="up")
    model = graph_model([node], {"x": [1, 1, 2, 2]}, {"y": None}, {"s": np.ones(4, np.float32)}, opset=11)
    refused(model, "'Upsample'", "'up'", "removed")


def test_runtime_domain_is_accepted(network):
    network.graph.node[1].op_type = "Gelu"
    network.graph.node[1].domain = "com.microsoft"
    network.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert load_model(network).graph.node[1].domain == "com.microsoft"


def test_local_functions_are_known_operators(network):
    function = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    network.functions.append(function)
    network.opset_import.append(helper.make_opsetid("local", 1))
    network.graph.node[1].op_type, network.graph.node[1].domain = "Twice", "local"
    load_model(network)


def test_duplicated_names(network):
    twice = onnx.ModelProto()
    twice.CopyFrom(network)
    twice.graph.node[1].output[0] = "c"
    refused(twice, "'c'")
    weights = onnx.ModelProto()
    weights.CopyFrom(network)
    weights.graph.initializer.append(weights.graph.initializer[0])
    refused(weights, "'w'", "more than one weight")
    shadow = onnx.ModelProto()
    shadow.CopyFrom(network)
    shadow.graph.node[1].output[0] = shadow.graph.node[2].input[0] = "x"
    refused(shadow, "'x'")


def test_checker_message_becomes_one_sentence(network):
    network.graph.node[1].input[0] = "ghost"
    refused(network, "not valid ONNX", "ghost")


def test_inputs_must_be_tensors_of_known_rank(network):
    network.graph.input[0].type.tensor_type.ClearField("shape")
    refused(network, "'x'", "dimensions")
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    network.graph.input[0].CopyFrom(sequence)
    refused(network, "'x'", "not a tensor")


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_float_types_load(graph_model, kind):
    x = helper.make_tensor_value_info("x", kind, ["N", 4])
    y = helper.make_tensor_value_info("y", kind, ["N", 4])
    loaded = load_model(graph_model([helper.make_node("Relu", ["x"], ["y"])], {"x": x}, {"y": y}))
    assert input_specs(loaded)[0].dtype == {TensorProto.FLOAT16: "float16", TensorProto.DOUBLE: "float64"}[kind]


def test_sparse_initializers_load(graph_model):
    loaded = load_model(_sparse_model(graph_model))
    assert [spec.name for spec in input_specs(loaded)] == ["x"]


def test_specs(network):
    network.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [16, 3, 3, 3]))
    network.graph.input.append(helper.make_tensor_value_info("unused", TensorProto.INT64, [None, -1, 0, 2]))
    x, unused = input_specs(network)
    assert (x.name, x.dtype, x.shape) == ("x", "float32", ("N", 3, 8, 8))
    assert (unused.dtype, unused.shape) == ("int64", (None, None, None, 2))
    assert output_specs(network)[0].shape == ("N", 5)


def _linear():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], [weight]), producer_name="test")


def _sparse_model(graph_model):
    model = graph_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 2]})
    values = numpy_helper.from_array(np.array([2.0, 5.0], np.float32), "w")
    indices = numpy_helper.from_array(np.array([0, 3], np.int64), "w_indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3, 2]))
    return model

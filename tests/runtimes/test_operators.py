"""Operators as ONNX Runtime executes them: signatures, names, one-operator models, recorded times."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from autocompress.errors import RuntimeFailure, TableError
from autocompress.graph.signature import TensorType
from autocompress.runtimes.onnxruntime_cpu import OnnxRuntimeCpu
from autocompress.runtimes.operator_signature import signature_of
from autocompress.runtimes.protocol import ExecutedOp, SessionOptions
from autocompress.runtimes.replay import NominalDevice, ReplayRuntime
from autocompress.runtimes.source_names import SourceNames
from autocompress.runtimes.work import bytes_touched, multiply_adds, weight_bytes

sys.path.append(str(Path(__file__).parent))
from qdq_models import QdqGraph, feeds_for

RUNTIME = OnnxRuntimeCpu()
SHAPE = (1, 16, 10, 10)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def model_of(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], shape: tuple[int, ...] = SHAPE) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def conv_model(name: str = "c", **attributes: object) -> bytes:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name=name, kernel_shape=[3, 3], **attributes)
    return model_of([node], {"w": random(32, 16, 3, 3), "b": random(32)})


def conv_of(model: bytes) -> ExecutedOp:
    (op,) = (o for o in RUNTIME.executed_ops(model, {"x": random(*SHAPE)}) if "Conv" in o.signature.op_type)
    return op


def test_names_and_spelled_out_defaults_do_not_change_a_signature() -> None:
    plain = conv_of(conv_model())
    spelled = conv_of(conv_model("other", strides=[1, 1], dilations=[1, 1], pads=[0, 0, 0, 0], group=1))
    assert plain.signature == spelled.signature
    assert plain.signature != conv_of(conv_model(pads=[1, 1, 1, 1])).signature


def test_how_a_constant_shape_is_read_does_not_change_a_reshape() -> None:
    types = [TensorType("float32", (2, 6)), TensorType("int64", (2,), True)]
    ways: list[dict[str, int]] = [{}, {"allowzero": 0}, {"allowzero": 1}]
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"], **way) for way in ways]
    found = {signature_of(node, types, [TensorType("float32", (3, 4))], {}) for node in nodes}
    assert len(found) == 1
    assert not found.pop().attributes


def test_numbers_that_kernels_do_not_branch_on_are_left_out_and_those_they_do_are_kept() -> None:
    def of(op_type: str, *constants: np.ndarray, **attributes: object) -> object:
        names = [f"c{i}" for i in range(len(constants))]
        node = helper.make_node(op_type, ["x", *names], ["y"], **attributes)
        (op,) = RUNTIME.executed_ops(model_of([node], dict(zip(names, constants, strict=True))), {"x": random(*SHAPE)})
        return op.signature

    assert of("LeakyRelu", alpha=0.1) == of("LeakyRelu", alpha=0.2)
    assert of("Pow", np.asarray(2, np.float32)) != of("Pow", np.asarray(0.5, np.float32))
    assert of("ReduceMean", axes=[2]) != of("ReduceMean", axes=[3])


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (0.1, 0.0), (0.5, 0.5), (0.9, 0.875)])
def test_sparsity_is_rounded_and_natural_zeros_do_not_count(share: float, expected: float) -> None:
    values = np.ones(1600, np.float32)
    values[: round(share * 1600)] = 0
    weight = numpy_helper.from_array(values.reshape(40, 40), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert signature_of(node, [], [], {"w": weight}).sparsity == expected


def test_every_operator_alone_is_the_same_operator() -> None:
    graph = QdqGraph()
    (y,) = graph.op("Conv", [graph.qdq("x"), graph.weight((32, 16, 3, 3), 0), graph.bias(32)], kernel_shape=[3, 3])
    quantized = graph.model({"x": SHAPE}, [graph.qdq(y)])
    for model in (conv_model(), quantized):
        for op in RUNTIME.executed_ops(model, {"x": random(*SHAPE)}):
            assert op.standalone is not None
            session = RUNTIME.load(op.standalone, SessionOptions(optimize=False))
            feeds = {s.name: np.ones(s.shape, s.dtype) for s in session.inputs}  # type: ignore[arg-type]
            (alone,) = RUNTIME.executed_ops(op.standalone, feeds, optimize=False)
            assert alone.signature == op.signature
            repeated = RUNTIME.executed_ops(RUNTIME.replicate(op.standalone, 4), feeds, optimize=False)
            assert [o.signature for o in repeated] == [op.signature] * 4


def test_copies_have_weights_of_their_own() -> None:
    op = conv_of(conv_model())
    assert op.standalone is not None
    assert len(RUNTIME.replicate(op.standalone, 5)) > 4.5 * weight_bytes(op.signature)


def test_integer_activations_carry_valid_values() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "two"], ["n"]),
        helper.make_node("Concat", ["one", "n"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    weights = {"two": np.asarray([2]), "one": np.asarray([-1])}
    graph = onnx.ModelProto.FromString(model_of(nodes, weights))
    for size in graph.graph.input[0].type.tensor_type.shape.dim:
        size.Clear()
        size.dim_param = "d"
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "c"
    ops = RUNTIME.executed_ops(graph.SerializeToString(), {"x": random(4, 4, 4, 4)})
    (reshape,) = (op for op in ops if op.signature.op_type == "Reshape")
    assert reshape.standalone is not None
    session = RUNTIME.load(reshape.standalone, SessionOptions(optimize=False))
    (result,) = session.run({"x": random(4, 4, 4, 4)}).values()
    assert result.shape == (64, 4)


def test_control_flow_is_one_operator() -> None:
    def branch(op_type: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op_type, ["x"], ["r"])], op_type, [], [out])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=branch("Exp"), else_branch=branch("Abs")),
    ]
    model = model_of(nodes, {"zero": np.asarray(0, np.float32)})
    ops = RUNTIME.executed_ops(model, {"x": random(*SHAPE)})
    (conditional,) = (op for op in ops if op.signature.op_type == "If")
    assert conditional.standalone is not None
    assert RUNTIME.load(conditional.standalone, SessionOptions(optimize=False)).run({"x": random(*SHAPE)})


def test_sources_are_the_longest_known_beginnings_of_derived_names() -> None:
    given = onnx.ModelProto.FromString(
        model_of(
            [helper.make_node("Conv", ["x", "w"], ["a/b"], name="net/conv"), helper.make_node("Relu", ["a/b"], ["y"])],
            {"w": random(4, 16, 1, 1)},
        )
    )
    sources = SourceNames(given)
    executed = helper.make_node("Conv", ["t", "w"], ["t2"])
    assert sources.of("net/conv_token_12", executed) == ("net/conv", "w")
    assert sources.of("a/b_nchwc", executed)[0] == "a/b"
    assert sources.of("net/convolution", helper.make_node("Relu", ["t"], ["t2"])) == ()


def test_failures_are_one_sentence() -> None:
    unknown = model_of([helper.make_node("Nonesuch", ["x"], ["y"])], {})
    with pytest.raises(RuntimeFailure, match="Nonesuch") as caught:
        RUNTIME.load(unknown)
    message = str(caught.value)
    assert message.startswith("onnxruntime could not load the model: ")
    assert "\n" not in message
    assert "ONNXRuntimeError" not in message
    with pytest.raises(RuntimeFailure):
        RUNTIME.executed_ops(unknown, {"x": random(*SHAPE)})


@pytest.mark.parametrize(
    ("node", "weights", "shape", "expected"),
    [
        (helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4), {"w": random(32, 16, 3, 3)}, SHAPE, 32 * 100 * 144),
        (helper.make_node("Conv", ["x", "w"], ["y"], group=16), {"w": random(16, 1, 3, 3)}, SHAPE, 16 * 64 * 9),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), {"w": random(8, 5)}, (2, 3, 8), 2 * 3 * 5 * 8),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), {"w": random(5, 8)}, (3, 8), 3 * 5 * 8),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"]), {"w": random(16, 4, 2, 2)}, SHAPE, 1600 * 4 * 4),
        (helper.make_node("Exp", ["x"], ["y"]), {}, SHAPE, 0),
    ],
    ids=lambda v: v.op_type if isinstance(v, onnx.NodeProto) else "",
)
def test_multiply_adds(
    node: onnx.NodeProto, weights: dict[str, np.ndarray], shape: tuple[int, ...], expected: int
) -> None:
    ops = RUNTIME.executed_ops(model_of([node], weights, shape), {"x": random(*shape)})
    assert sum(multiply_adds(op.signature) for op in ops) == expected
    assert all(bytes_touched(op.signature) > 0 for op in ops)


def test_replayed_times_are_those_recorded(tmp_path: Path) -> None:
    model, feeds = conv_model(), {"x": random(*SHAPE)}
    ops = ReplayRuntime().executed_ops(model, feeds)
    conv = conv_of(model)
    device = NominalDevice(run_s=0.0)
    others = sum(device.seconds(o.signature, 1) for o in ops if o.signature != conv.signature)
    lines = [{"format": "a header"}, {"key": conv.signature.key, "median_us": 123.0, "valid": True}]
    table = tmp_path / "t.jsonl"
    table.write_text("\n".join(json.dumps(line) for line in lines))
    replay = ReplayRuntime.from_table(table)
    replay.device = device
    session = replay.load(model)
    assert session.time_runs(feeds) == pytest.approx(123e-6 + others)
    assert session.time_runs(feeds, 50) == session.time_runs(feeds)
    np.testing.assert_array_equal(session.run(feeds)["y"], RUNTIME.load(model).run(feeds)["y"])
    table.write_text("no table")
    with pytest.raises(TableError, match="cannot be replayed"):
        ReplayRuntime.from_table(table)


def test_integer_kernels_are_faster_on_the_nominal_device() -> None:
    graph = QdqGraph()
    (y,) = graph.op("Conv", [graph.qdq("x"), graph.weight((64, 64, 3, 3), 0), graph.bias(64)], kernel_shape=[3, 3])
    shape = (1, 64, 28, 28)
    quantized = ReplayRuntime().load(graph.model({"x": shape}, [graph.qdq(y)]))
    plain_node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3])
    plain = ReplayRuntime().load(model_of([plain_node], {"w": random(64, 64, 3, 3)}, shape))
    assert quantized.time_runs(feeds_for({"x": shape})) < 0.6 * plain.time_runs(feeds_for({"x": shape}))

"""What every runtime must do, and whether its rules about Q/DQ are true."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from autocompress.errors import ConfigError, RuntimeFailure
from autocompress.runtimes import RUNTIME_NAMES, get_runtime
from autocompress.runtimes.protocol import ExecutedOp, Runtime, Session, SessionOptions
from autocompress.runtimes.timing import measure_interleaved, time_session

sys.path.append(str(Path(__file__).parents[1] / "runtimes"))
from qdq_models import QdqGraph, feeds_for

_NEEDS = {"openvino": "openvino"}
_SHAPE = (1, 16, 12, 12)


@pytest.fixture(params=RUNTIME_NAMES)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    module = _NEEDS.get(request.param)
    if module and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    return get_runtime(request.param)


def small_network() -> bytes:
    """Two 3x3 convolutions with ReLU and a residual add, a global pool and a Gemm."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.standard_normal(shape) / 10).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="first", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], name="first_relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="second", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Add", ["c2", "r1"], ["sum"], name="residual"),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["y"], name="classifier", transB=1),
    ]
    weights = [weight("w1", 16, 16, 3, 3), weight("b1", 16), weight("w2", 16, 16, 3, 3), weight("b2", 16)]
    weights += [weight("w3", 10, 16), weight("b3", 10)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *_SHAPE[1:]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def feeds(batch: int = 1) -> dict[str, np.ndarray]:
    return feeds_for({"x": (batch, *_SHAPE[1:])})


def test_unknown_name_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="no runtime called 'nonesuch'"):
        get_runtime("nonesuch")


def test_it_fits_the_protocol(runtime: Runtime) -> None:
    assert isinstance(runtime, Runtime)
    assert runtime.name in RUNTIME_NAMES
    assert runtime.version


def test_numbers_agree_with_the_reference_evaluator(runtime: Runtime) -> None:
    model = small_network()
    (expected,) = ReferenceEvaluator(onnx.ModelProto.FromString(model)).run(None, feeds(2))
    found = runtime.load(model).run(feeds(2))
    assert list(found) == ["y"]
    np.testing.assert_allclose(found["y"], expected, rtol=1e-4, atol=1e-5)


def test_inputs_and_outputs_are_described(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(small_network())
    session: Session = runtime.load(str(path))
    (spec,) = session.inputs
    assert (spec.name, spec.dtype, spec.shape[1:]) == ("x", "float32", _SHAPE[1:])
    assert not isinstance(spec.shape[0], int)
    assert session.outputs[0].name == "y"


def test_refused_models_are_runtime_failures(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match="could not load"):
        runtime.load(b"not a model")
    with pytest.raises(RuntimeFailure, match=r"nonesuch\.onnx"):
        runtime.load(str(tmp_path / "nonesuch.onnx"))


def test_wrong_feeds_are_runtime_failures(runtime: Runtime) -> None:
    session = runtime.load(small_network())
    with pytest.raises(RuntimeFailure, match="failed while running"):
        session.run({"x": np.zeros((1, 3, 12, 12), np.float32)})


def test_executed_ops_describe_the_work(runtime: Runtime) -> None:
    ops = runtime.executed_ops(small_network(), feeds(3))
    assert len({op.name for op in ops}) == len(ops)
    convolutions = [op for op in ops if "Conv" in op.signature.op_type]
    assert len(convolutions) == 2
    for op in convolutions:
        assert op.signature.outputs[0].shape == (3, *_SHAPE[1:])
    sources = {source for op in ops for source in op.sources}
    for anchors in ({"first", "first_relu", "r1", "c1"}, {"second", "residual", "sum", "c2"}, {"classifier", "y"}):
        assert sources & anchors


def test_executed_ops_are_the_same_every_time(runtime: Runtime) -> None:
    first, second = (runtime.executed_ops(small_network(), feeds()) for _ in range(2))
    assert [(o.name, o.signature, o.standalone) for o in first] == [(o.name, o.signature, o.standalone) for o in second]


def test_other_weights_have_the_same_signatures(runtime: Runtime) -> None:
    model = onnx.ModelProto.FromString(small_network())
    for weight in model.graph.initializer:
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 2 + 1, weight.name))
    before = runtime.executed_ops(small_network(), feeds())
    after = runtime.executed_ops(model.SerializeToString(), feeds())
    assert [o.signature.key for o in before] == [o.signature.key for o in after]


def test_operators_alone_can_be_loaded_repeated_and_timed(runtime: Runtime) -> None:
    timed = 0
    for op in runtime.executed_ops(small_network(), feeds()):
        if op.standalone is None:
            continue
        once = runtime.load(op.standalone, SessionOptions(optimize=False))
        thrice = runtime.load(runtime.replicate(op.standalone, 3), SessionOptions(optimize=False))
        inputs = random_inputs(once)
        assert once.time_runs(inputs, 2) > 0
        assert thrice.time_runs(inputs, 2) > 0
        timed += 1
    assert timed >= 3


def random_inputs(session: Session) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        spec.name: rng.integers(0, 100, spec.shape).astype(spec.dtype)
        for spec in session.inputs
        if spec.dtype in ("float32", "uint8", "int8")
    }


def test_timing_a_model(runtime: Runtime) -> None:
    latency = time_session(runtime.load(small_network()), feeds(), budget_s=0.2, min_repeats=5)
    assert 0 < latency.minimum_ms <= latency.latency_ms < 1000
    assert latency.repeats >= 5
    assert latency.clock in ("cpu", "wall", "replay")


def test_a_model_is_as_fast_as_itself(runtime: Runtime) -> None:
    a, b = runtime.load(small_network()), runtime.load(small_network())
    speedup = measure_interleaved(a, b, feeds(), budget_s=1.0, min_rounds=10, seed=3)
    assert speedup.speedup == pytest.approx(1.0, abs=0.08)
    assert speedup.speedup_ci95.low <= speedup.speedup <= speedup.speedup_ci95.high


def test_eight_times_the_batch_is_slower(runtime: Runtime) -> None:
    session = runtime.load(small_network())
    one = time_session(session, feeds(1), budget_s=0.2)
    eight = time_session(session, feeds(8), budget_s=0.2)
    assert eight.minimum_ms > 2 * one.minimum_ms


# --- the rules about Q/DQ -------------------------------------------------------------------------------------------


def op_types(runtime: Runtime, graph: QdqGraph, inputs: dict[str, tuple[int, ...]], *outputs: str) -> list[str]:
    ops: list[ExecutedOp] = list(
        runtime.executed_ops(graph.model(inputs, list(outputs)), feeds_for(inputs), standalone=False)
    )
    return [op.signature.op_type for op in ops]


def is_integer_only(types: list[str], inputs: int, outputs: int = 1) -> bool:
    """Whether nothing but the entrances and the exits converts."""
    return types.count("QuantizeLinear") == inputs and types.count("DequantizeLinear") == outputs


_SCALAR = np.float32
_TRANSPARENT = {
    "DepthToSpace": ({"blocksize": 2}, []),
    "Expand": ({}, [np.array([2, 16, 12, 12])]),
    "Flatten": ({}, []),
    "Gather": ({"axis": 1}, [np.array([1, 3])]),
    "Identity": ({}, []),
    "MaxPool": ({"kernel_shape": [2, 2], "strides": [2, 2]}, []),
    "Reshape": ({}, [np.array([1, -1])]),
    "Resize": ({"mode": "nearest"}, [np.array([], np.float32), np.array([1, 1, 2, 2], np.float32)]),
    "Slice": ({}, [np.array([1]), np.array([5]), np.array([1])]),
    "Split": ({"axis": 1}, []),
    "Squeeze": ({}, [np.array([0])]),
    "Tile": ({}, [np.array([1, 2, 1, 1])]),
    "Transpose": ({"perm": [0, 2, 3, 1]}, []),
    "Unsqueeze": ({}, [np.array([0])]),
}
_UNARY_JOINT = {
    "AveragePool": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "GlobalAveragePool": {},
    "LeakyRelu": {"alpha": 0.1},
    "Sigmoid": {},
    "Softmax": {"axis": -1},
}
_KNOWN_FLOAT = ["Tanh", "HardSigmoid", "Exp", "Sqrt", "Neg", "Abs", "Erf"]


@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_transparent_ops_move_integers(runtime: Runtime, activation: str) -> None:
    assert runtime.quantization.transparent_ops <= _TRANSPARENT.keys()
    for op_type in sorted(runtime.quantization.transparent_ops):
        attributes, extra = _TRANSPARENT[op_type]
        graph = QdqGraph(activation)
        operands = [graph.qdq("x"), *(graph.constant(values) for values in extra)]
        results = graph.op(op_type, operands, 2 if op_type == "Split" else 1, **attributes)
        outputs = [graph.qdq(result) for result in results]
        types = op_types(runtime, graph, {"x": _SHAPE}, *outputs)
        assert is_integer_only(types, 1, len(outputs)), (op_type, types)


@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_joint_ops_have_integer_kernels(runtime: Runtime, activation: str) -> None:
    for op_type in sorted(runtime.quantization.joint_ops):
        graph = QdqGraph(activation)
        if op_type in _UNARY_JOINT:
            inputs = {"x": _SHAPE}
            (result,) = graph.op(op_type, [graph.qdq("x")], **_UNARY_JOINT[op_type])
        else:
            inputs = {"x": _SHAPE, "z": _SHAPE}
            operands = [graph.qdq("x"), graph.qdq("z", 0.03)]
            if op_type == "Where":
                operands.insert(0, graph.constant(np.array([[True, False] * 6])))
            (result,) = graph.op(op_type, operands, **({"axis": 1} if op_type == "Concat" else {}))
        types = op_types(runtime, graph, inputs, graph.qdq(result, 0.05))
        assert is_integer_only(types, len(inputs)), (op_type, types)


def test_ops_outside_the_rules_stay_float(runtime: Runtime) -> None:
    rules = runtime.quantization
    for op_type in _KNOWN_FLOAT:
        if op_type in rules.joint_ops | rules.transparent_ops:
            continue
        graph = QdqGraph()
        (result,) = graph.op(op_type, [graph.qdq("x")])
        types = op_types(runtime, graph, {"x": _SHAPE}, graph.qdq(result))
        assert not is_integer_only(types, 1), (op_type, types)


def weighted(graph: QdqGraph, op_type: str, weight_dtype: str, *, per_channel: bool) -> tuple[str, tuple[int, ...]]:
    x = graph.qdq("x")
    if op_type == "Conv":
        weight = graph.weight((32, 16, 3, 3), 0, weight_dtype, per_channel=per_channel)
        return graph.op("Conv", [x, weight, graph.bias(32)], kernel_shape=[3, 3])[0], _SHAPE
    if op_type == "Gemm":
        weight = graph.weight((32, 64), 0, weight_dtype, per_channel=per_channel)
        return graph.op("Gemm", [x, weight, graph.bias(32)], transB=1)[0], (4, 64)
    assert op_type == "MatMul", f"add {op_type} to this test"
    weight = graph.weight((64, 32), 1, weight_dtype, per_channel=per_channel)
    return graph.op("MatMul", [x, weight])[0], (2, 8, 64)


@pytest.mark.parametrize("activation", ["uint8", "int8"])
@pytest.mark.parametrize("weight_dtype", ["int8", "uint8"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weighted_ops_become_one_integer_kernel(
    runtime: Runtime, activation: str, weight_dtype: str, per_channel: bool
) -> None:
    for op_type in sorted(runtime.quantization.weighted_ops):
        graph = QdqGraph(activation)
        result, shape = weighted(graph, op_type, weight_dtype, per_channel=per_channel)
        types = op_types(runtime, graph, {"x": shape}, graph.qdq(result, 0.05))
        assert is_integer_only(types, 1), (op_type, types)


def activation_op(graph: QdqGraph, op_type: str, x: str) -> str:
    bounds = [graph.constant(np.float32(0)), graph.constant(np.float32(6))] if op_type == "Clip" else []
    return graph.op(op_type, [x, *bounds])[0]


@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_fused_activations_vanish_where_the_range_already_clips(runtime: Runtime, activation: str) -> None:
    for op_type in sorted(runtime.quantization.fused_activations):
        graph = QdqGraph(activation)
        result, shape = weighted(graph, "Conv", "int8", per_channel=True)
        output = graph.qdq(activation_op(graph, op_type, result), 6 / 255, graph.smallest)
        types = op_types(runtime, graph, {"x": shape}, output)
        assert is_integer_only(types, 1), (op_type, types)
        assert op_type not in types


def test_a_clip_inside_the_range_costs_the_integer_kernel() -> None:
    graph = QdqGraph()
    result, shape = weighted(graph, "Conv", "int8", per_channel=True)
    types = op_types(
        get_runtime("onnxruntime"), graph, {"x": shape}, graph.qdq(activation_op(graph, "Clip", result), 0.05, 0)
    )
    assert "QLinearConv" not in types


@pytest.mark.parametrize("per_channel", [True, False])
def test_dynamic_ops_become_one_kernel(runtime: Runtime, per_channel: bool) -> None:
    for op_type in sorted(runtime.quantization.dynamic_ops):
        assert op_type == "MatMul", f"add {op_type} to this test"
        graph = QdqGraph()
        quantized, scale, zero = graph.op("DynamicQuantizeLinear", ["x"], 3)
        n = 32 if per_channel else 1
        weight = graph.constant(graph.rng.integers(-100, 100, (64, 32)).astype(np.int8))
        zeros = graph.constant(np.zeros(n, np.int8) if per_channel else np.int8(0))
        scales = graph.constant(np.full(n, 0.01, np.float32) if per_channel else np.float32(0.01))
        (product,) = graph.op("MatMulInteger", [quantized, weight, zero, zeros])
        (product,) = graph.op("Cast", [product], to=TensorProto.FLOAT)
        (factor,) = graph.op("Mul", [scale, scales])
        (output,) = graph.op("Mul", [product, factor])
        types = op_types(runtime, graph, {"x": (2, 8, 64)}, output)
        assert len(types) <= 2, types
        assert "MatMulInteger" not in types


def float_layer(graph: QdqGraph, op_type: str, x: str) -> tuple[str, tuple[int, ...]]:
    def constant(*shape: int) -> str:
        return graph.constant(graph.rng.standard_normal(shape).astype(np.float32))

    if op_type == "Gemm":
        return graph.op("Gemm", [x, constant(32, 64), constant(32)], transB=1)[0], (4, 64)
    if op_type == "MatMul":
        return graph.op("MatMul", [x, constant(64, 32)])[0], (2, 4, 64)
    assert op_type in ("Conv", "ConvTranspose"), f"add {op_type} to this test"
    return graph.op(op_type, [x, constant(16, 16, 3, 3), constant(16)], kernel_shape=[3, 3])[0], _SHAPE


def quantizes_weights(runtime: Runtime, graph: QdqGraph, shape: tuple[int, ...], output: str) -> bool:
    ops = runtime.executed_ops(graph.model({"x": shape}, [output]), feeds_for({"x": shape}), standalone=False)
    return any(t is not None and t.constant and t.dtype == "int8" for op in ops for t in op.signature.inputs)


def test_which_float_layers_between_integers_the_runtime_quantizes_on_its_own(runtime: Runtime) -> None:
    for op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        graph = QdqGraph()
        result, shape = float_layer(graph, op_type, graph.qdq("x"))
        taken = quantizes_weights(runtime, graph, shape, graph.qdq(result, 0.05))
        assert taken == (op_type in runtime.quantization.requantized_ops), op_type


def test_a_dequantize_with_a_scale_per_channel_keeps_a_layer_float(runtime: Runtime) -> None:
    for op_type in sorted(runtime.quantization.requantized_ops):
        graph = QdqGraph()
        _, shape = float_layer(QdqGraph(), op_type, "x")
        (quantized,) = graph.op("QuantizeLinear", ["x", graph.constant(np.float32(0.02)), graph.constant(np.uint8(0))])
        scales = graph.constant(np.full(shape[1], 0.02, np.float32))
        zeros = graph.constant(np.zeros(shape[1], np.uint8))
        (x,) = graph.op("DequantizeLinear", [quantized, scales, zeros], axis=1)
        result, _ = float_layer(graph, op_type, x)
        assert not quantizes_weights(runtime, graph, shape, graph.qdq(result, 0.05)), op_type

"""What every runtime must do."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from autocompress.errors import ConfigError, RuntimeFailure
from autocompress.runtimes import RUNTIME_NAMES, get_runtime
from autocompress.runtimes.protocol import InPlaceRuntime, Runtime, Session, SessionOptions
from autocompress.runtimes.timing import measure_interleaved, time_session

sys.path.append(str(Path(__file__).parents[1] / "runtimes"))
from qdq_models import feeds_for

_SHAPE = (1, 16, 12, 12)


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
    assert timed >= 3 or isinstance(runtime, InPlaceRuntime)


def test_operators_are_timed_alone_or_in_place(runtime: Runtime) -> None:
    ops = runtime.executed_ops(small_network(), feeds())
    if not isinstance(runtime, InPlaceRuntime):
        assert any(op.standalone is not None for op in ops)
        return
    assert all(op.standalone is None for op in ops)
    with pytest.raises(RuntimeFailure, match="time_in_place"):
        runtime.replicate(b"", 2)
    times = runtime.time_in_place(small_network(), feeds(), budget_s=0.2)
    assert [(t.op.name, t.op.signature) for t in times] == [(op.name, op.signature) for op in ops]
    assert all(t.latency_us > 0 and t.resolution_us > 0 for t in times)


def test_times_in_place_add_up(runtime: Runtime) -> None:
    if not isinstance(runtime, InPlaceRuntime):
        pytest.skip("operators are timed alone")
    errors = [1.0]
    while min(errors) > 0.1 and len(errors) < 5:  # other work may fall on one of the two measurements
        whole = time_session(runtime.load(small_network()), feeds(64), budget_s=0.3)
        parts = runtime.time_in_place(small_network(), feeds(64), budget_s=0.3)
        errors.append(abs(sum(t.latency_us for t in parts) / (whole.latency_ms * 1e3) - 1.0))
    assert min(errors) <= 0.1


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

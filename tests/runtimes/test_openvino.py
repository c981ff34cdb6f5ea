"""OpenVINO sessions: static versions, inputs in place, errors; and that nobody imports it who does not ask for it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from autocompress.errors import ConfigError, RuntimeFailure
from autocompress.runtimes import get_runtime
from autocompress.runtimes.failure import runtime_failure

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def make_model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int | str]],
    outputs: list[str],
    weights: dict[str, np.ndarray],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def conv_model() -> onnx.ModelProto:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])
    return make_model([node], {"x": ["n", 3, "h", "w"]}, ["y"], {"w": random(4, 3, 3, 3)})


def test_a_missing_package_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autocompress.runtimes.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install autocompress\[openvino\]"):
        get_runtime("openvino")


def test_other_runtimes_do_not_import_it() -> None:
    code = (
        "import sys; from autocompress.runtimes import get_runtime; get_runtime('onnxruntime'); get_runtime('replay');"
        "import autocompress.latency.families; assert 'openvino' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_openvino
def test_each_set_of_shapes_gets_its_own_static_version() -> None:
    from autocompress.runtimes.onnxruntime_cpu import OnnxRuntimeCpu
    from autocompress.runtimes.openvino_session import OpenVinoSession
    from autocompress.runtimes.protocol import SessionOptions

    model = conv_model().SerializeToString()
    session = OpenVinoSession(model, SessionOptions())
    reference = OnnxRuntimeCpu().load(model)
    for size in (8, 9, 10, 11, 12, 13, 8):
        x = {"x": random(2, 3, size, size)}
        np.testing.assert_allclose(session.run(x)["y"], reference.run(x)["y"], rtol=1e-4, atol=1e-5)
    assert len(session._versions) == 4


@needs_openvino
def test_results_follow_what_is_in_the_arrays() -> None:
    session = get_runtime("openvino").load(conv_model().SerializeToString())
    x = random(1, 3, 8, 8)
    first = session.run({"x": x})["y"]
    kept = first.copy()
    x *= 2
    np.testing.assert_allclose(session.run({"x": x})["y"], 2 * kept, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(first, kept)  # results are copies
    turned = np.ascontiguousarray(x.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)  # same values, other memory order
    np.testing.assert_allclose(session.run({"x": turned})["y"], 2 * kept, rtol=1e-4, atol=1e-5)
    turned *= 0
    assert not session.run({"x": turned})["y"].any()
    x.flags.writeable = False
    np.testing.assert_allclose(session.run({"x": x})["y"], 2 * kept, rtol=1e-4, atol=1e-5)


@needs_openvino
def test_float_means_float32() -> None:
    """bfloat16, which OpenVINO prefers where the processor has it, keeps eight bits."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    model = make_model([node], {"x": [64, 512]}, ["y"], {"w": random(512, 64)})
    x = random(64, 512)
    found = get_runtime("openvino").load(model.SerializeToString()).run({"x": x})["y"]
    np.testing.assert_allclose(found, x @ random(512, 64), rtol=1e-3, atol=1e-3)


@needs_openvino
def test_weights_beside_the_model_are_found(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save_model(conv_model(), str(path), save_as_external_data=True, location="weights.bin", size_threshold=16)
    runtime = get_runtime("openvino")
    x = {"x": random(1, 3, 8, 8)}
    expected = runtime.load(conv_model().SerializeToString()).run(x)["y"]
    np.testing.assert_array_equal(runtime.load(str(path)).run(x)["y"], expected)
    assert [op.name for op in runtime.executed_ops(str(path), x) if "Conv" in op.signature.op_type] == ["conv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "weights.bin"]


@needs_openvino
def test_inputs_that_nothing_reads_may_be_fed() -> None:
    model = make_model(
        [helper.make_node("Relu", ["x"], ["y"])], {"x": ["n", 3], "unused": ["n", 2]}, ["y"], {}
    ).SerializeToString()
    runtime = get_runtime("openvino")
    session = runtime.load(model)
    assert [spec.name for spec in session.inputs] == ["x", "unused"]
    assert session.inputs[1].shape == ("n", 2)
    feeds = {"x": random(2, 3), "unused": random(2, 2)}
    np.testing.assert_array_equal(session.run(feeds)["y"], np.maximum(feeds["x"], 0))
    assert runtime.executed_ops(model, feeds)


@needs_openvino
@pytest.mark.parametrize(
    "feeds",
    [{}, {"x": random(1, 3, 8, 8), "z": random(1)}, {"x": random(1, 3, 8, 8).astype(np.float64)}, {"x": random(3, 8)}],
)
def test_feeds_that_do_not_fit_are_runtime_failures(feeds: dict[str, np.ndarray]) -> None:
    runtime = get_runtime("openvino")
    model = conv_model().SerializeToString()
    with pytest.raises(RuntimeFailure, match="failed while running") as caught:
        runtime.load(model).run(feeds)
    assert "src/" not in str(caught.value)
    if "z" not in feeds:
        with pytest.raises(RuntimeFailure, match="openvino"):
            runtime.executed_ops(model, feeds)


def test_the_places_in_its_source_are_left_out_of_messages() -> None:
    raised = RuntimeError(
        "Exception from src/inference/src/cpp/core.cpp:84:\nCheck 'util::exists(a) || b' failed at src/x.cpp:117:\n"
        'FrontEnd API failed with GeneralFailure:\nonnx: Could not open the file: "m.onnx"\n\n'
    )
    assert str(runtime_failure("openvino", "could not load m.onnx", raised)) == (
        'openvino could not load m.onnx: onnx: Could not open the file: "m.onnx"'
    )


@needs_openvino
def test_the_callers_floating_point_switches_stay() -> None:
    session = get_runtime("openvino").load(conv_model().SerializeToString())
    session.run({"x": random(1, 3, 8, 8)})
    session.time_runs({"x": random(1, 3, 8, 8)}, 2)
    tiny = np.full(4, 1e-40, np.float32)
    assert (tiny * np.float32(0.5) != 0).all()


@needs_openvino
def test_fewer_threads_than_asked_for_are_refused() -> None:
    from autocompress.runtimes.protocol import SessionOptions

    model = make_model([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 3]}, ["y"], {}).SerializeToString()
    with pytest.raises(RuntimeFailure, match="of 4096 threads"):
        get_runtime("openvino").load(model, SessionOptions(threads=4096))

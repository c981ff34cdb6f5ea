"""Models that are unusual or broken, from what was loaded to a candidate that runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from autocompress.errors import ModelError
from autocompress.graph.model import load_model
from autocompress.passes.quantize import INT4_WEIGHT_ONLY, QuantizeConfig
from autocompress.runtimes import RUNTIME_NAMES, get_runtime

sys.path.append(str(Path(__file__).parent))
from quantize_models import Arrays, FloatGraph, Study, executed, feeds_for, run

FOUR_BITS = QuantizeConfig(weight_dtype="int4", weight_range="mse")
RUNTIMES = [name for name in RUNTIME_NAMES if name != "replay"]


def close(
    study: Study, config: QuantizeConfig, runtime: str = "onnxruntime", tolerance: float = 0.1
) -> onnx.ModelProto:
    candidate = study.build(config)
    found = get_runtime(runtime).load(candidate.SerializeToString()).run(study.feeds)
    for name, values in study.float_outputs().items():
        assert found[name].shape == values.shape
        error = float(np.sqrt(np.mean((found[name] - values) ** 2) / max(float(np.mean(values**2)), 1e-12)))
        assert error < tolerance
    return candidate


def old_model(opset: int) -> onnx.ModelProto:
    """Operators whose form changed over the versions, as each version writes them."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((8, 4, 3, 3)).astype(np.float32) * 0.3,
        "b": rng.standard_normal(8).astype(np.float32),
        "m": rng.standard_normal((8, 6)).astype(np.float32) * 0.3,
        "low": np.float32(0),
        "high": np.float32(6),
        "axes": np.array([2, 3], np.int64),
        "axis": np.array([1], np.int64),
    }
    as_input = {"ReduceMean": 18, "Squeeze": 13, "Unsqueeze": 13}

    def with_axes(op_type: str, x: str, y: str, axes: str, **attributes: int) -> onnx.NodeProto:
        if opset >= as_input[op_type]:
            return helper.make_node(op_type, [x, axes], [y], **attributes)
        return helper.make_node(op_type, [x], [y], axes=weights[axes].tolist(), **attributes)

    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4),
        helper.make_node("Clip", ["c", "low", "high"], ["r"]),
        with_axes("ReduceMean", "r", "pooled", "axes", keepdims=0),
        with_axes("Unsqueeze", "pooled", "wide", "axis"),
        helper.make_node("Dropout", ["wide"], ["kept"]),
        with_axes("Squeeze", "kept", "flat", "axis"),
        helper.make_node("MatMul", ["flat", "m"], ["product"]),
        helper.make_node("Softmax", ["product"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 6])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6 if opset < 15 else 8)


@pytest.mark.parametrize("opset", range(11, 22))
@pytest.mark.parametrize("config", [QuantizeConfig(), FOUR_BITS, QuantizeConfig(precision=INT4_WEIGHT_ONLY)])
def test_every_operator_set(opset: int, config: QuantizeConfig) -> None:
    study = Study(load_model(old_model(opset)))
    close(study, config, tolerance=0.3 if config != QuantizeConfig() else 0.1)
    if config.precision == "int8":
        assert executed(study.build(config), study.feeds)["QLinearConv"] == 1


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("config", [QuantizeConfig(), QuantizeConfig(precision=INT4_WEIGHT_ONLY)])
def test_a_weight_that_layers_share(runtime: str, config: QuantizeConfig) -> None:
    graph = FloatGraph(seed=1)
    shared = graph.random(16, 16)
    x = graph.op("Tanh", graph.op("MatMul", graph.input("x", 4, 16), shared))
    x = graph.op("Tanh", graph.op("MatMul", x, graph.op("Transpose", shared, perm=[1, 0])))
    graph.output(graph.op("MatMul", x, shared), graph.op("Mul", x, graph.op("ReduceMean", shared, keepdims=0)))
    candidate = close(Study(graph.model(), runtime=runtime), config, runtime, tolerance=0.3)
    assert any("k0" in w.name for w in candidate.graph.initializer)


def test_weights_computed_from_weights_are_weights() -> None:
    graph = FloatGraph(seed=1)
    weight = graph.op("Mul", graph.random(8, 4, 3, 3), graph.random(8, 1, 1, 1))
    graph.output(graph.op("Conv", graph.input("x", 4, 6, 6), weight, graph.random(8)))
    study = Study(graph.model())
    assert executed(close(study, QuantizeConfig()), study.feeds)["QLinearConv"] == 1


def test_weights_computed_from_the_input_stay_float() -> None:
    graph = FloatGraph(seed=1)
    x = graph.input("x", 4, 6, 6)
    weight = graph.op("Reshape", graph.op("ReduceMean", x, axes=[0]), graph.constant(np.array([1, 4, 6, 6])))
    graph.output(graph.op("Conv", graph.conv(x, 4, 4), weight))
    study = Study(graph.model())
    assert "Conv_3" not in study.units
    kernels = executed(close(study, QuantizeConfig()), study.feeds)
    assert kernels["QLinearConv"] == 1
    assert kernels["Conv"] + kernels["FusedConv"] == 1


def test_what_is_quantized_already_is_left_alone() -> None:
    inner = FloatGraph(seed=1)
    inner.output(inner.conv(inner.input("x", 4, 6, 6), 4, 4, out="middle"))
    given = Study(inner.model()).build()
    tail = FloatGraph(seed=2)
    tail.weights = []
    weight, bias = (tail.rng.standard_normal(s).astype(np.float32) for s in ((4, 4, 1, 1), (4,)))
    given.graph.node.append(helper.make_node("Conv", ["middle", "tail_w", "tail_b"], ["y"], name="tail"))
    given.graph.initializer.extend([numpy_helper.from_array(weight, "tail_w"), numpy_helper.from_array(bias, "tail_b")])
    del given.graph.output[:]
    given.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 6, 6]))
    study = Study(given)
    assert list(study.units) == ["tail"]
    assert executed(close(study, QuantizeConfig()), study.feeds)["QLinearConv"] == 2


@pytest.mark.parametrize("config", [QuantizeConfig(), FOUR_BITS, QuantizeConfig(precision=INT4_WEIGHT_ONLY)])
def test_external_data(tmp_path: Path, config: QuantizeConfig) -> None:
    graph = FloatGraph(seed=1)
    x = graph.op("Relu", graph.op("Gemm", graph.input("x", 32), graph.random(32, 64), graph.random(64)))
    graph.output(graph.op("Gemm", x, graph.random(64, 8)))
    path = tmp_path / "model.onnx"
    onnx.save_model(graph.model(), path, save_as_external_data=True, location="weights.bin", size_threshold=16)
    assert (tmp_path / "weights.bin").stat().st_size > 8192
    close(Study(load_model(path)), config, tolerance=0.3)


def layer(change: Callable[[Arrays], None]) -> Study:
    """A Conv between two others, with a weight and bias that were changed."""
    graph = FloatGraph(seed=1)
    arrays = {
        "w": graph.rng.standard_normal((8, 4, 3, 3)).astype(np.float32) * 0.3,
        "b": graph.rng.standard_normal(8).astype(np.float32),
    }
    change(arrays)
    x = graph.op("Relu", graph.conv(graph.input("x", 4, 6, 6), 4, 4))
    x = graph.op("Conv", x, *(graph.constant(v, k) for k, v in arrays.items()), pads=[1] * 4, out="changed")
    graph.output("changed", graph.conv(x, arrays["w"].shape[0], 4))
    return Study(graph.model())


def silence(arrays: Arrays) -> None:
    arrays["w"][[0, 3]] = 0


def silence_all(arrays: Arrays) -> None:
    arrays["w"][:] = 0


def tiny(arrays: Arrays) -> None:
    arrays["w"][2] = 1e-42


@pytest.mark.parametrize("change", [silence, silence_all, tiny])
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_channels_of_zeros(change: Callable[[Arrays], None], granularity: str) -> None:
    study = layer(change)
    candidate = close(study, QuantizeConfig(weight_granularity=granularity))
    assert executed(candidate, study.feeds)["QLinearConv"] == 3


def poison(value: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays["w"][1, 0, 0, 0] = value

    return change


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_stay_float(value: float) -> None:
    graph = FloatGraph(seed=1)
    x = graph.op("Relu", graph.conv(graph.input("x", 4, 6, 6), 4, 4))
    weight = graph.rng.standard_normal((4, 4, 3, 3)).astype(np.float32)
    weight[1, 0, 0, 0] = value
    broken = graph.op("Conv", x, graph.constant(weight), pads=[1] * 4)
    graph.output(graph.conv(x, 4, 4), graph.op("Sigmoid", broken))
    study = Study(graph.model())
    assert "Conv_2" not in study.units
    found, wanted = run(study.build(), study.feeds), study.float_outputs()
    whole, damaged = wanted
    np.testing.assert_allclose(found[whole], wanted[whole], atol=0.1)
    np.testing.assert_array_equal(np.isfinite(found[damaged]), np.isfinite(wanted[damaged]))


def test_no_channels_at_all() -> None:
    graph = FloatGraph(seed=1)
    x = graph.input("x", 4)
    empty = graph.op("MatMul", x, graph.constant(np.zeros((4, 0), np.float32)))
    graph.output(graph.op("MatMul", x, graph.random(4, 3)), empty)
    study = Study(graph.model())
    assert "MatMul_0" not in study.units
    found = run(study.build(), study.feeds)
    assert [values.shape[1] for values in found.values()] == [3, 0]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_operator_without_an_integer_form_stays_float(runtime: str) -> None:
    graph = FloatGraph(seed=1)
    x = graph.op("Relu", graph.conv(graph.input("x", 4, 6, 6), 4, 4))
    x = graph.op("CumSum", x, graph.constant(np.int64(3)))
    x = graph.op("InstanceNormalization", x, graph.random(4), graph.random(4))
    graph.output(graph.conv(x, 4, 4))
    study = Study(graph.model(), runtime=runtime)
    assert [unit.op_type for unit in study.units.values()] == ["Conv", "Conv"]
    candidate = close(study, QuantizeConfig(), runtime)
    assert {"CumSum", "InstanceNormalization"} <= {node.op_type for node in candidate.graph.node}


def test_an_operator_that_no_runtime_knows_is_named() -> None:
    graph = FloatGraph(seed=1)
    graph.output(graph.conv(graph.input("x", 4, 6, 6), 4, 4, out="y"))
    model = graph.model()
    model.graph.node[0].output[0] = "before"
    model.graph.node.append(helper.make_node("Wavelet", ["before"], ["y"], name="mine", domain="my.operators"))
    model.opset_import.append(helper.make_opsetid("my.operators", 1))
    with pytest.raises(ModelError, match=r"'Wavelet' \(node .*mine.*\) of the domain 'my.operators'"):
        load_model(model)


def test_feeds_of_one_sample() -> None:
    graph = FloatGraph(seed=1)
    graph.output(graph.conv(graph.input("x", 4, 6, 6), 4, 4))
    model = graph.model()
    close(Study(model, feeds_for(model, samples=1)), QuantizeConfig())

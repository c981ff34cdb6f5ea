"""Dynamic quantization: fuses into the runtime's kernels, and computes what its formula says."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocompress.graph.shapes import element_types, infer_shapes
from autocompress.passes.quantize import INT8, INT8_DYNAMIC, QuantizeConfig, QuantizePayload, Quantizer
from autocompress.recipe.builder import prepare
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, executed, feeds_for, reference, run

DYNAMIC = QuantizeConfig(precision=INT8_DYNAMIC)


def dynamic_product(x: np.ndarray, weight: np.ndarray, *, per_channel: bool = True) -> np.ndarray:
    """X @ W with X quantized from its own extremes and symmetric int8 W, in integers."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = np.float32((high - low) / 255)
    zero = int(np.clip(np.rint(-low / scale), 0, 255))
    xq = np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.int64)
    sw = (np.abs(weight).max(axis=0 if per_channel else None) / 127).astype(np.float32)
    wq = np.clip(np.rint(weight / sw), -127, 127).astype(np.int64)
    return ((xq - zero) @ wq) * (float(scale) * sw.astype(np.float64))


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_one_product(granularity: str) -> None:
    graph = FloatGraph(seed=1)
    weight = (graph.rng.standard_normal((16, 12)) * 0.3).astype(np.float32)
    graph.output(graph.op("MatMul", graph.input("x", 5, 16), graph.constant(weight)))
    study = Study(graph.model())
    candidate = study.build(dataclasses.replace(DYNAMIC, weight_granularity=granularity))
    assert executed(candidate, study.feeds) == {"DynamicQuantizeMatMul": 1}
    expected = dynamic_product(study.feeds["x"], weight, per_channel=granularity == "per_channel")
    np.testing.assert_allclose(run(candidate, study.feeds)["t0"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_asymmetric_weights(granularity: str) -> None:
    graph = FloatGraph(seed=1)
    weight = graph.rng.uniform(-0.1, 0.9, (16, 12)).astype(np.float32)
    graph.output(graph.op("MatMul", graph.input("x", 5, 16), graph.constant(weight)))
    study = Study(graph.model())
    config = dataclasses.replace(DYNAMIC, weight_granularity=granularity, weight_dtype="uint8")
    candidate = study.build(config)
    assert executed(candidate, study.feeds) == {"DynamicQuantizeMatMul": 1}
    found = run(candidate, study.feeds)["t0"]
    np.testing.assert_allclose(found, reference(candidate, study.feeds)["t0"], rtol=1e-4, atol=1e-5)
    error = found - study.float_outputs()["t0"]
    assert 0 < np.sqrt(np.mean(error**2)) < 0.03


def test_the_bias_joins_the_kernel() -> None:
    graph = FloatGraph(seed=2)
    product = graph.op("MatMul", graph.input("x", 5, 16), graph.random(16, 12))
    graph.output(graph.op("Add", product, graph.random(12)))
    study = Study(graph.model())
    candidate = study.build(DYNAMIC)
    assert executed(candidate, study.feeds) == {"DynamicQuantizeMatMul": 1}
    np.testing.assert_allclose(
        run(candidate, study.feeds)["t1"], reference(candidate, study.feeds)["t1"], rtol=1e-4, atol=1e-5
    )


def test_units_that_read_one_tensor_quantize_it_once() -> None:
    graph = FloatGraph(seed=3)
    x = graph.op("Tanh", graph.input("x", 5, 16))
    names = [graph.op("MatMul", x, graph.random(16, 8)) for _ in range(3)]
    graph.output(*names)
    study = Study(graph.model())
    candidate = study.build(DYNAMIC)
    assert [n.op_type for n in candidate.graph.node].count("DynamicQuantizeLinear") == 1
    found, expected = run(candidate, study.feeds), reference(candidate, study.feeds)
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)
    assert set(executed(candidate, study.feeds)) == {"Tanh", "DynamicQuantizeLinear", "MatMulIntegerToFloat"}


def test_dynamic_behind_static() -> None:
    graph = FloatGraph(seed=4)
    x = graph.op("Relu", graph.op("MatMul", graph.input("x", 5, 16), graph.random(16, 12)))
    x = graph.op("MatMul", x, graph.random(12, 3))
    graph.output(graph.op("MatMul", x, graph.random(3, 8)))
    study = Study(graph.model())
    config = QuantizeConfig(precision=INT8).with_precisions({"MatMul_2": INT8_DYNAMIC})
    candidate = study.build(config)
    kernels = executed(candidate, study.feeds)
    assert {k: kernels[k] for k in ("QLinearMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMul")} == {
        "QLinearMatMul": 1,
        "DynamicQuantizeMatMul": 1,
        "MatMulIntegerToFloat": 1,
        "MatMul": 0,
    }
    found, expected = run(candidate, study.feeds)["t3"], study.float_outputs()["t3"]
    assert 0 < np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)) < 0.03


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("biased", [True, False])
def test_gemm_where_a_runtime_wants_it(transposed: int, biased: bool) -> None:
    graph = FloatGraph(seed=5)
    weight = (graph.rng.standard_normal((16, 12)) * 0.3).astype(np.float32)
    bias = graph.rng.standard_normal(12).astype(np.float32)
    operands = [graph.input("x", 16), graph.constant(weight.T.copy() if transposed else weight)]
    operands += [graph.constant(bias)] if biased else []
    graph.output(graph.op("Gemm", *operands, transB=transposed))
    model = prepare(graph.model())
    rules = dataclasses.replace(get_runtime("onnxruntime").quantization, dynamic_ops=frozenset({"MatMul", "Gemm"}))
    floats = {name for name, kind in element_types(infer_shapes(model)).items() if kind == onnx.TensorProto.FLOAT}
    candidate = Quantizer(model, rules, frozenset(floats)).emit(DYNAMIC, QuantizePayload())
    onnx.checker.check_model(candidate, full_check=True)
    feeds = feeds_for(model)
    assert executed(candidate, feeds) == {"DynamicQuantizeMatMul": 1}
    expected = dynamic_product(feeds["x"], weight) + (bias if biased else 0)
    np.testing.assert_allclose(run(candidate, feeds)["t0"], expected, rtol=1e-4, atol=1e-5)


def test_only_products_with_constant_weights_are_dynamic() -> None:
    graph = FloatGraph()
    x = graph.op("Relu", graph.conv(graph.input("x", 4, 4, 4), 4, 4))
    x = graph.op("MatMul", x, graph.op("Transpose", x, perm=[0, 1, 3, 2]))
    graph.output(graph.op("MatMul", x, graph.random(4, 3)))
    units = Study(graph.model()).units
    assert {name: INT8_DYNAMIC in unit.options for name, unit in units.items()} == {
        "Conv_0": False,
        "MatMul_3": False,
        "MatMul_4": True,
    }

"""Weights of few bits under float activations, and weights stored in half precision."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from autocompress.graph.model import model_bytes
from autocompress.passes.quantize import (
    FP16_WEIGHTS,
    FP32,
    INT4_WEIGHT_ONLY,
    INT8_WEIGHT_ONLY,
    QuantizeConfig,
)
from autocompress.passes.quantize.weight_only import packed
from autocompress.runtimes import RUNTIME_NAMES, get_runtime

sys.path.append(str(Path(__file__).parent))
from quantize_models import Arrays, FloatGraph, Study, executed, run

PLAIN = QuantizeConfig(precision=INT4_WEIGHT_ONLY)


def products(rows: int = 96) -> Study:
    """A MatMul, a Gemm with a transposed matrix and a bias, and one without."""
    graph = FloatGraph(seed=2)
    x = graph.op("MatMul", graph.input("x", rows), graph.random(rows, 64))
    x = graph.op("Gemm", graph.op("Tanh", x), graph.random(48, 64), graph.random(48), transB=1)
    graph.output(graph.op("Gemm", graph.op("Tanh", x), graph.random(48, 32)))
    return Study(graph.model())


def by_blocks(
    weight: np.ndarray, axis: int, block: int, bits: int, *, symmetric: bool, partial: bool = True
) -> np.ndarray:
    """The weight rounded in blocks along an axis, written out here."""
    rows = np.moveaxis(weight.astype(np.float64), axis, -1).copy()
    if rows.shape[-1] % block and not partial:
        block = rows.shape[-1]
    for start in range(0, rows.shape[-1], block):
        part = rows[..., start : start + block]
        top = np.maximum(part.max(-1, keepdims=True), 0)
        bottom = np.minimum(part.min(-1, keepdims=True), 0)
        if symmetric:
            scale = np.abs(part).max(-1, keepdims=True) / (2 ** (bits - 1) - 1)
            zero, low, high = 0.0, -(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1
        else:
            scale = (top - bottom) / (2**bits - 1)
            zero, low, high = np.rint(-bottom / scale), 0, 2**bits - 1
        rows[..., start : start + block] = (np.clip(np.rint(part / scale) + zero, low, high) - zero) * scale
    return np.moveaxis(rows, -1, axis)


def expected(study: Study, block: int, bits: int, *, symmetric: bool, partial: bool = True) -> np.ndarray:
    from onnx import numpy_helper

    k = {w.name: numpy_helper.to_array(w) for w in study.model.graph.initializer}
    options = {"block": block, "bits": bits, "symmetric": symmetric, "partial": partial}
    x = np.tanh(study.feeds["x"].astype(np.float64) @ by_blocks(k["k0"], 0, **options))
    x = np.tanh(x @ by_blocks(k["k1"], 1, **options).T + k["k2"])
    return x @ by_blocks(k["k3"], 0, **options)


@pytest.mark.parametrize("runtime", [name for name in RUNTIME_NAMES if name != "replay"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("precision", "bits"), [(INT4_WEIGHT_ONLY, 4), (INT8_WEIGHT_ONLY, 8)])
@pytest.mark.parametrize("block", [32, 64, 128])
def test_the_runtime_multiplies_with_the_rounded_matrix(
    runtime: str, symmetric: bool, precision: str, bits: int, block: int
) -> None:
    study = Study(products().model, runtime=runtime)
    config = QuantizeConfig(
        precision=precision, block_size=block, weight_only_symmetric=symmetric, weight_range="min_max"
    )
    candidate = study.build(config)
    (found,) = get_runtime(runtime).load(model_bytes(candidate)).run(study.feeds).values()
    wanted = expected(study, block, bits, symmetric=symmetric, partial=runtime == "onnxruntime")
    # OpenVINO rounds activations to 8 bits on the fly.
    tolerance = 1e-4 if runtime == "onnxruntime" else 0.02
    np.testing.assert_allclose(found, wanted, atol=tolerance * float(np.abs(wanted).max()))
    simulated = run(study.builder.quantizer.emit(config, study.freeze(config).payload, simulate=True), study.feeds)
    np.testing.assert_allclose(*simulated.values(), wanted, atol=1e-4)


@pytest.mark.parametrize("rows", [33, 40, 7])
def test_a_last_block_may_be_partial(rows: int) -> None:
    study = products(rows)
    for symmetric in (True, False):
        config = QuantizeConfig(precision=INT4_WEIGHT_ONLY, weight_only_symmetric=symmetric, weight_range="min_max")
        (found,) = run(study.build(config), study.feeds).values()
        np.testing.assert_allclose(found, expected(study, 32, 4, symmetric=symmetric), atol=1e-4)


def test_each_product_is_one_kernel_and_four_bits_are_four_bits() -> None:
    study = products(512)
    candidate = study.build(PLAIN)
    kernels = executed(candidate, study.feeds)
    assert kernels["MatMulNBits"] == 3
    assert not {"MatMul", "Gemm", "FusedGemm"} & set(kernels)
    matrices = 4 * (512 * 64 + 64 * 48 + 64 * 32)  # the last block of the third is partial
    stored = sum(len(w.raw_data) for w in candidate.graph.initializer)
    # 4 bits for each number, 32 for each block of 32, and the bias.
    assert stored == matrices * 5 / 32 + 48 * 4
    assert len(model_bytes(candidate)) < matrices * 5 / 32 + 4096


def test_activations_may_be_rounded_on_the_fly() -> None:
    study = products()
    from dataclasses import replace

    levels = {
        attribute.i
        for config in (PLAIN, replace(PLAIN, weight_only_activations="int8"))
        for node in study.build(config).graph.node
        for attribute in node.attribute
        if attribute.name == "accuracy_level"
    }
    assert levels == {1, 4}


def test_neighbours_may_be_integers() -> None:
    study = products()
    first, second, _ = study.units
    candidate = study.build(QuantizeConfig().with_precisions({second: INT4_WEIGHT_ONLY}))
    kernels = executed(candidate, study.feeds)
    assert kernels["MatMulNBits"] == 1
    assert kernels["QGemm"] == 1
    assert study.units[first].all_options[-1] == FP16_WEIGHTS


def test_halves_of_bytes_are_filled_low_first() -> None:
    values = np.array([[1, 2, 3], [15, 0, 8]], np.uint8)
    np.testing.assert_array_equal(packed(values, 4), [[0x21, 0x03], [0x0F, 0x08]])
    np.testing.assert_array_equal(packed(values, 8), values)


@pytest.mark.parametrize("runtime", [name for name in RUNTIME_NAMES if name != "replay"])
def test_weights_in_half_precision_are_exact_once_loaded(runtime: str) -> None:
    graph = FloatGraph(seed=3)
    x = graph.op("Relu", graph.conv(graph.input("x", 8, 6, 6), 8, 16))
    graph.output(graph.op("Gemm", graph.op("Flatten", x), graph.random(16 * 36, 10), graph.random(10)))
    study = Study(graph.model(), runtime=runtime)
    rounded = FloatGraph(seed=3)
    rounded.nodes, rounded.inputs, rounded.outputs = graph.nodes, graph.inputs, graph.outputs
    from onnx import numpy_helper

    for weight in graph.weights:
        values = numpy_helper.to_array(weight)
        rounded.constant(values.astype(np.float16).astype(np.float32) if values.size >= 64 else values, weight.name)
    load = get_runtime(runtime).load

    def outputs(model: bytes) -> Arrays:
        return load(model).run(study.feeds)

    wanted = outputs(model_bytes(rounded.model()))
    for config in (
        QuantizeConfig(precision=FP32, float_storage="float16"),
        QuantizeConfig(precision=FP16_WEIGHTS),
    ):
        candidate = study.build(config)
        for name, values in outputs(model_bytes(candidate)).items():
            np.testing.assert_array_equal(values, wanted[name])
        assert len(model_bytes(candidate)) < 0.6 * len(model_bytes(study.model))
        simulated = study.builder.quantizer.emit(config, study.freeze(config).payload, simulate=True)
        for name, values in outputs(model_bytes(simulated)).items():
            np.testing.assert_array_equal(values, wanted[name])


def test_weights_beyond_half_precision_stay_as_they_are() -> None:
    graph = FloatGraph(seed=3)
    weight = graph.rng.standard_normal((16, 16)).astype(np.float32)
    weight[0, 0] = 70000
    graph.output(graph.op("MatMul", graph.input("x", 16), graph.constant(weight)))
    study = Study(graph.model())
    candidate = study.build(QuantizeConfig(precision=FP16_WEIGHTS))
    assert [w.data_type for w in candidate.graph.initializer] == [TensorProto.FLOAT]

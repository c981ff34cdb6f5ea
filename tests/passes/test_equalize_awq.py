"""AWQ: the grid finds the least output error, which a direct search over the same grid confirms."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autocompress.calibration.channels import channel_statistics
from autocompress.errors import ConfigError, DataError
from autocompress.graph.model import fingerprint, model_bytes
from autocompress.passes.equalize import AwqConfig, InputMoments, apply_scales, protect_salient
from autocompress.passes.equalize.step import EQUALIZATIONS, resolve
from autocompress.passes.quantize import INT4_WEIGHT_ONLY, QuantizeConfig
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.recipe import Recipe

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, collect_statistics, run

INPUTS, HIDDEN, OUTPUTS, BLOCK = 16, 24, 8, 8


def network(transposed: bool = False) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A normalization with a few large channels, then two matrices that read it."""
    g = FloatGraph(2)
    scale = np.ones(INPUTS, np.float32)
    scale[[3, 8]] = 12.0
    x = g.op("LayerNormalization", g.input("x", INPUTS), g.constant(scale), g.random(INPUTS), axis=-1)
    if transposed:
        y = g.op("Gemm", x, g.random(HIDDEN, INPUTS, scale=1.0), g.random(HIDDEN), transB=1)
    else:
        y = g.op("MatMul", x, g.random(INPUTS, HIDDEN, scale=1.0))
    g.output(g.op("Tanh", y), g.op("MatMul", x, g.random(INPUTS, OUTPUTS, scale=1.0)))
    feeds = {"x": np.random.default_rng(4).standard_normal((200, INPUTS)).astype(np.float32)}
    return prepare(g.model()), feeds


def inner(model: onnx.ModelProto, feeds, name: str) -> np.ndarray:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.append(onnx.ValueInfoProto(name=name))
    return run(shown, feeds)[name]


def matrices(model: onnx.ModelProto) -> list[np.ndarray]:
    """Weights of the layers as (inputs, outputs), float64."""
    known = {w.name: numpy_helper.to_array(w).astype(np.float64) for w in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type in ("Gemm", "MatMul")]
    return [known[n.input[1]].T if n.op_type == "Gemm" else known[n.input[1]] for n in nodes]


def rounded(weight: np.ndarray) -> np.ndarray:
    """Asymmetric 4-bit rounding of blocks along the inputs, written out."""
    result = np.empty_like(weight)
    for start in range(0, len(weight), BLOCK):
        block = weight[start : start + BLOCK]
        low, high = np.minimum(block.min(axis=0), 0.0), np.maximum(block.max(axis=0), 0.0)
        step = (high - low) / 15.0
        zero = np.rint(-low / step)
        result[start : start + BLOCK] = (np.clip(np.rint(block / step) + zero, 0, 15) - zero) * step
    return result


def errors(weights: list[np.ndarray], x: np.ndarray, factors: np.ndarray) -> float:
    """Sum over the layers of the relative output error on samples."""
    total = 0.0
    for weight in weights:
        change = rounded(weight * factors[:, None]) / factors[:, None] - weight
        total += ((x @ change) ** 2).sum() / ((x @ weight) ** 2).sum()
    return total


@pytest.mark.parametrize("transposed", [False, True])
def test_the_grid_finds_what_a_direct_search_finds(transposed):
    model, feeds = network(transposed)
    x = inner(model, feeds, "t0").astype(np.float64)
    config = AwqConfig(block_size=BLOCK, grid=11)
    result = protect_salient(model, {"t0": InputMoments.from_samples(x)}, config)
    found = result.payload.scales["t0"]
    mean = np.abs(x).mean(axis=0)
    searched = [errors(matrices(model), x, mean**alpha) for alpha in np.linspace(0, 1, 11)]
    assert errors(matrices(model), x, found) == pytest.approx(min(searched), rel=1e-3)
    assert min(searched) < 0.7 * searched[0]
    alpha = np.linspace(0, 1, 11)[int(np.argmin(searched))]
    np.testing.assert_allclose(found / found[0], (mean / mean[0]) ** alpha, rtol=1e-9)


def test_the_float_function_stays_and_names_too():
    model, feeds = network()
    moments = {"t0": InputMoments.from_samples(inner(model, feeds, "t0"))}
    result = protect_salient(model, moments, AwqConfig(block_size=BLOCK))
    for old, new in zip(run(model, feeds).values(), run(result.model, feeds).values(), strict=True):
        assert np.abs(new - old).max() <= 1e-5 * np.abs(old).max()
    assert {w.name for w in result.model.graph.initializer} == {w.name for w in model.graph.initializer}
    assert model_bytes(apply_scales(model, result.payload)) == model_bytes(result.model)
    assert result.model.graph.node == model.graph.node


@pytest.mark.parametrize("dtype", ["int4", "uint4"])
@pytest.mark.parametrize("seed", range(4))
def test_never_worse_than_plain_rounding_on_the_samples(dtype, seed):
    from autocompress.calibration.scheme import Scheme, dequantize, quantize
    from autocompress.calibration.weights import weight_scales

    rng = np.random.default_rng(seed)
    g = FloatGraph(seed)
    x = g.op("LayerNormalization", g.input("x", INPUTS), g.random(INPUTS, scale=2.0), g.random(INPUTS), axis=-1)
    g.output(g.op("MatMul", x, g.random(INPUTS, OUTPUTS)))
    model = prepare(g.model())
    rows = inner(model, {"x": rng.standard_normal((64, INPUTS)).astype(np.float32)}, "t0").astype(np.float64)
    result = protect_salient(model, {"t0": InputMoments.from_samples(rows)}, AwqConfig(dtype, BLOCK))
    scheme = Scheme(dtype, dtype == "int4", "per_block", axis=0, block_size=BLOCK)

    def error(candidate: onnx.ModelProto) -> float:
        (weight,), factors = matrices(candidate), np.ones(INPUTS)
        if candidate is not model:
            factors = result.payload.scales.get("t0", factors)
        scales, zeros = weight_scales(weight, scheme, "min_max")
        whole = dequantize(quantize(weight, scales, zeros, scheme), scales, zeros, scheme)
        return float((((rows / factors) @ whole - rows @ matrices(model)[0]) ** 2).sum())

    assert error(result.model) <= error(model) * (1 + 1e-5)


def test_moments_from_calibration_and_from_samples_agree_where_channels_are_independent():
    rows = np.random.default_rng(0).standard_normal((20_000, 5)).astype(np.float32) * np.arange(1, 6)
    exact = InputMoments.from_samples(rows)
    close = InputMoments.from_channels(channel_statistics(rows.astype(np.float32), 1))
    np.testing.assert_allclose(np.diag(exact.second_moment), close.second_moment, rtol=1e-4)
    np.testing.assert_allclose(close.mean_abs / exact.mean_abs, np.sqrt(np.pi / 2), rtol=0.03)
    change = np.random.default_rng(1).standard_normal((3, 5))
    assert exact.power(change) == pytest.approx(float(((rows @ change.T) ** 2).sum(axis=1).mean()), rel=1e-6)
    assert close.power(change) == pytest.approx(exact.power(change), rel=0.05)


def test_layers_that_are_not_rounded_in_blocks_are_left_alone():
    g = FloatGraph()
    x = g.op("Relu", g.conv(g.input("x", 3, 6, 6), 3, 8, 1))
    g.output(g.conv(x, 8, 4, 1))
    result = protect_salient(prepare(g.model()), {})
    assert not result.changes
    assert "not rounded in blocks" in result.skipped[0].reason


def test_bounded_channels_are_left_alone():
    g = FloatGraph()
    x = g.op("MatMul", g.input("x", INPUTS), g.random(INPUTS, HIDDEN))
    x = g.op("Clip", x, g.constant(np.float32(0)), g.constant(np.float32(6)))
    g.output(g.op("MatMul", x, g.random(HIDDEN, OUTPUTS)))
    moments = {"t1": InputMoments(np.ones(HIDDEN), np.ones(HIDDEN))}
    result = protect_salient(prepare(g.model()), moments)
    assert not result.changes
    assert "'Clip_1' bounds it from above" in result.skipped[0].reason


def test_without_moments_nothing_changes():
    model, _ = network()
    result = protect_salient(model, {})
    assert not result.changes
    assert any("no statistics per channel of 't0'" in entry.reason for entry in result.skipped)


@pytest.mark.parametrize("rows", [np.zeros((0, 3)), np.zeros(3), np.full((2, 3), np.nan)])
def test_moments_need_finite_rows(rows):
    with pytest.raises(DataError, match="finite rows"):
        InputMoments.from_samples(rows)


@pytest.mark.parametrize(
    ("field", "value"), [("weight_dtype", "int3"), ("block_size", 0), ("grid", 1), ("where", ("nowhere",))]
)
def test_impossible_configurations_are_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        AwqConfig(**{field: value})


@pytest.mark.parametrize("transposed", [False, True])
def test_as_a_step_of_a_recipe_four_bits_lose_less(transposed):
    model, feeds = network(transposed)
    builder = CandidateBuilder(model, "onnxruntime", fingerprint(model))
    statistics = collect_statistics(builder, feeds)
    scheme, config = QuantizeConfig(precision=INT4_WEIGHT_ONLY), EQUALIZATIONS["awq"]
    payload = resolve(model, config, statistics)
    assert set(payload.scales) == {"t0"}
    plain = builder.build(builder.freeze(Recipe(scheme), statistics))
    kept = builder.build(builder.freeze(Recipe(scheme, equalize=config), statistics, {"equalize": payload}))
    expected = run(model, feeds)

    def error(candidate: onnx.ModelProto) -> float:
        found = run(candidate, feeds)
        return sum(float(((found[k] - v) ** 2).mean() / (v**2).mean()) for k, v in expected.items())

    assert error(kept) < 0.8 * error(plain)
    assert {n.op_type for n in kept.graph.node} == {n.op_type for n in plain.graph.node}

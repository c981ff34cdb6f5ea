"""Bias correction against brute force over real data."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from autocompress.passes.quantize import QuantizeConfig

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, run, weights_of

CORRECTED = QuantizeConfig(weight_granularity="per_tensor", bias_correction=True)
PLAIN = dataclasses.replace(CORRECTED, bias_correction=False)


def dequantized_weight(model_weights: dict[str, np.ndarray], unit: str, axis: int = 0) -> np.ndarray:
    values = model_weights[f"{unit}_weight_quantized"].astype(np.float64)
    scale = model_weights[f"{unit}_weight_scale"].astype(np.float64)
    zero = model_weights[f"{unit}_weight_zero_point"].astype(np.float64)
    shape = [-1 if i == axis and scale.ndim else 1 for i in range(values.ndim)]
    return (values - zero.reshape(shape)) * scale.reshape(shape)


def circular_convolution(x: np.ndarray, weight: np.ndarray, groups: int) -> np.ndarray:
    """Convolution that wraps around the image: at every kernel position it sees every pixel once."""
    cout, per_group, kh, kw = weight.shape
    out = np.zeros((x.shape[0], cout, *x.shape[2:]))
    for o in range(cout):
        g = o // (cout // groups)
        for c in range(per_group):
            for i in range(kh):
                for j in range(kw):
                    out[:, o] += weight[o, c, i, j] * np.roll(x[:, g * per_group + c], (-i, -j), (1, 2))
    return out


def offset_feeds(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Inputs whose channels have different means, so that rounding errors do not cancel."""
    rng = np.random.default_rng(4)
    means = rng.uniform(-2, 4, (1, shape[1], *[1] * (len(shape) - 2)))
    return {"x": (rng.standard_normal(shape) + means).astype(np.float32)}


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
@pytest.mark.parametrize("biased", [True, False])
def test_convolution(groups: int, granularity: str, biased: bool) -> None:
    graph = FloatGraph(seed=groups)
    graph.output(graph.conv(graph.input("x", 8, 5, 5), 8, 16, group=groups, bias=biased))
    study = Study(graph.model(), offset_feeds((8, 8, 5, 5)))
    config = dataclasses.replace(CORRECTED, weight_granularity=granularity)
    stored = weights_of(study.model)
    error = dequantized_weight(weights_of(study.build(config)), "Conv_0") - stored["k0"]
    shift = circular_convolution(study.feeds["x"].astype(np.float64), error, groups).mean(axis=(0, 2, 3))
    expected = stored.get("k1", np.zeros(16)) - shift
    found = study.freeze(config).payload.biases["Conv_0"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(shift).max() > 1e-3


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int) -> None:
    graph = FloatGraph(seed=3)
    weight = graph.random(*((6, 10) if transposed else (10, 6)))
    graph.output(graph.op("Gemm", graph.input("x", 10), weight, graph.random(6), transB=transposed))
    study = Study(graph.model(), offset_feeds((8, 10)))
    stored = weights_of(study.model)
    error = dequantized_weight(weights_of(study.build(CORRECTED)), "Gemm_0") - stored["k0"]
    shift = (study.feeds["x"].astype(np.float64) @ (error.T if transposed else error)).mean(axis=0)
    found = study.freeze(CORRECTED).payload.biases["Gemm_0"]
    np.testing.assert_allclose(found, stored["k1"] - shift, rtol=1e-4, atol=1e-5)


def mean_error(study: Study, config: QuantizeConfig, output: str) -> float:
    """Root mean square over channels of the mean error of an output."""
    difference = run(study.build(config), study.feeds)[output] - study.float_outputs()[output]
    axes = (0, *range(2, difference.ndim))
    return float(np.sqrt(np.mean(difference.mean(axis=axes) ** 2)))


@pytest.mark.parametrize("groups", [1, 8])
def test_it_brings_the_mean_of_a_padded_convolution_back(groups: int) -> None:
    graph = FloatGraph(seed=20 + groups)
    weight = (graph.rng.standard_normal((8, 8 // groups, 3, 3)) * 0.2).astype(np.float32)
    weight[0] *= 12  # one large channel makes the common scale coarse
    x = graph.input("x", 8, 12, 12)
    graph.output(graph.op("Conv", x, graph.constant(weight), kernel_shape=[3, 3], pads=[1] * 4, group=groups))
    study = Study(graph.model(), offset_feeds((8, 8, 12, 12)))
    assert mean_error(study, CORRECTED, "t0") < 0.35 * mean_error(study, PLAIN, "t0")


def test_it_brings_the_mean_of_a_small_network_back() -> None:
    graph = FloatGraph(seed=31)
    x = graph.input("x", 8, 10, 10)
    for _ in range(3):
        weight = (graph.rng.standard_normal((8, 8, 3, 3)) * 0.1).astype(np.float32)
        weight[0] *= 8
        x = graph.op("Conv", x, graph.constant(weight), graph.random(8), kernel_shape=[3, 3], pads=[1] * 4)
        x = graph.op("Relu", x)
    x = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    graph.output(graph.op("Gemm", x, graph.random(8, 6)))
    study = Study(graph.model(), offset_feeds((8, 8, 10, 10)))
    output = study.model.graph.output[0].name
    assert mean_error(study, CORRECTED, output) < 0.7 * mean_error(study, PLAIN, output)


def test_products_without_a_bias_operand_are_left() -> None:
    graph = FloatGraph()
    graph.output(graph.op("MatMul", graph.input("x", 5, 8), graph.random(8, 4)))
    assert Study(graph.model()).freeze(CORRECTED).payload.biases == {}


def test_no_correction_is_made_unless_asked() -> None:
    graph = FloatGraph()
    graph.output(graph.conv(graph.input("x", 4, 5, 5), 4, 4))
    study = Study(graph.model())
    assert study.freeze(PLAIN).payload.biases == {}
    assert list(study.freeze(CORRECTED).payload.biases) == ["Conv_0"]


def test_corrections_follow_the_statistics_at_hand() -> None:
    graph = FloatGraph()
    graph.output(graph.conv(graph.input("x", 4, 5, 5), 4, 4))
    model = graph.model()
    quiet, offset = Study(model), Study(model, offset_feeds((8, 4, 5, 5)))
    first = quiet.freeze(CORRECTED).payload
    second = quiet.builder.freeze(quiet.freeze(CORRECTED).recipe, offset.statistics).payload
    own = offset.freeze(CORRECTED).payload
    assert first.ranges != second.ranges
    assert second.ranges == own.ranges
    np.testing.assert_array_equal(second.biases["Conv_0"], own.biases["Conv_0"])
    assert not np.array_equal(first.biases["Conv_0"], second.biases["Conv_0"])

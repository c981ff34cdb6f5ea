"""Single kernels against integer arithmetic written out here, and against what real arithmetic allows."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from autocompress.passes.quantize import QuantizeConfig

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, executed, run, weights_of

PLAIN = QuantizeConfig(bias_correction=False)


def grid(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of an asymmetric uint8 grid over a range widened to zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255))
    return scale, int(np.clip(np.rint(-low / scale), 0, 255))


def grid_of(values: np.ndarray) -> tuple[float, int]:
    return grid(float(values.min()), float(values.max()))


def to_integers(values: np.ndarray, scale: float, zero: int) -> np.ndarray:
    return np.clip(np.rint(values.astype(np.float32) / np.float32(scale)) + zero, 0, 255).astype(np.int64)


def integer_weight(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 per channel: integers of the weight's shape and scales that broadcast against it."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scales = np.abs(weight).max(axis=others, keepdims=True).astype(np.float64) / 127
    scales = scales.astype(np.float32)
    return np.clip(np.rint(weight / scales), -127, 127).astype(np.int64), scales


def convolve(x: np.ndarray, w: np.ndarray, groups: int, pad: int) -> np.ndarray:
    """Plain convolution by loops over kernel positions, in the dtype of its operands."""
    n, _, height, width = x.shape
    cout, per_group, kh, kw = w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((n, cout, height + 2 * pad - kh + 1, width + 2 * pad - kw + 1), x.dtype)
    for o in range(cout):
        g = o // (cout // groups)
        inputs = padded[:, g * per_group : (g + 1) * per_group]
        for i in range(kh):
            for j in range(kw):
                window = inputs[:, :, i : i + out.shape[2], j : j + out.shape[3]]
                out[:, o] += np.einsum("nchw,c->nhw", window, w[o, :, i, j])
    return out


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("biased", [True, False])
def test_convolution_with_relu(groups: int, biased: bool) -> None:
    graph = FloatGraph(seed=groups)
    graph.output(graph.op("Relu", graph.conv(graph.input("x", 8, 6, 6), 8, 8, group=groups, bias=biased)))
    study = Study(graph.model())
    stored = weights_of(study.model)
    weight, bias = stored["k0"], stored.get("k1", np.zeros(8, np.float32))
    x, float_y = study.feeds["x"], study.float_outputs()["t1"]

    (sx, zx), (sy, zy) = grid_of(x), grid_of(float_y)
    wq, sw = integer_weight(weight, 0)
    sums = convolve(to_integers(x, sx, zx) - zx, wq, groups, 1)
    sums += np.rint(bias / (sx * sw.reshape(-1).astype(np.float64))).astype(np.int64)[:, None, None]
    real = np.maximum(sums * (sx * sw.reshape(1, -1, 1, 1).astype(np.float64)), 0)
    expected = (to_integers(real, sy, zy) - zy) * sy

    found = run(study.build(PLAIN), study.feeds)["t1"]
    assert np.abs(found - expected).max() <= 1.001 * sy
    assert np.mean(np.abs(found - expected) > 1e-6) < 0.01

    # Real arithmetic bounds the error: half a step of the input through |W|, of the weight through |x|, of the output.
    through_weight = convolve(np.ones_like(x) * sx / 2, np.abs(weight) + sw / 2, groups, 1)
    through_input = convolve(np.abs(x) + sx / 2, np.broadcast_to(sw / 2, weight.shape), groups, 1)
    assert (np.abs(found - float_y) <= through_weight + through_input + sy * 1.01).all()


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int) -> None:
    graph = FloatGraph(seed=7)
    shape = (5, 12) if transposed else (12, 5)
    graph.output(graph.op("Gemm", graph.input("x", 12), graph.random(*shape), graph.random(5), transB=transposed))
    study = Study(graph.model())
    stored, x = weights_of(study.model), study.feeds["x"]
    sx, zx = grid_of(x)
    wq, sw = integer_weight(stored["k0"], 1 - transposed)
    columns = wq.T if transposed else wq
    scales = sx * sw.reshape(-1).astype(np.float64)
    sums = (to_integers(x, sx, zx) - zx) @ columns + np.rint(stored["k1"] / scales).astype(np.int64)
    np.testing.assert_allclose(run(study.build(PLAIN), study.feeds)["t0"], sums * scales, rtol=1e-5, atol=1e-6)


def test_matmul_of_three_dimensions() -> None:
    graph = FloatGraph(seed=8)
    graph.output(graph.op("MatMul", graph.input("x", 5, 12), graph.random(12, 7)))
    study = Study(graph.model())
    x = study.feeds["x"]
    sx, zx = grid_of(x)
    wq, sw = integer_weight(weights_of(study.model)["k0"], 1)
    expected = ((to_integers(x, sx, zx) - zx) @ wq) * (sx * sw.astype(np.float64))
    np.testing.assert_allclose(run(study.build(PLAIN), study.feeds)["t0"], expected, rtol=1e-5, atol=1e-6)


def test_addition_of_two_inputs() -> None:
    graph = FloatGraph()
    graph.output(graph.op("Add", graph.input("x", 4, 5), graph.input("y", 4, 5)))
    study = Study(graph.model())
    x, y, float_sum = study.feeds["x"], study.feeds["y"], study.float_outputs()["t0"]
    parts = [(to_integers(v, *grid_of(v)) - grid_of(v)[1]) * grid_of(v)[0] for v in (x, y)]
    scale, zero = grid_of(float_sum)
    expected = (to_integers(parts[0] + parts[1], scale, zero) - zero) * scale
    found = run(study.build(PLAIN), study.feeds)["t0"]
    assert np.abs(found - expected).max() <= 1.001 * scale
    assert np.mean(np.abs(found - expected) > 1e-6) < 0.03


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("weight_dtype", ["int8", "uint8"])
def test_a_bias_too_large_for_its_scale_is_kept_by_coarser_weights(granularity: str, weight_dtype: str) -> None:
    graph = FloatGraph(seed=9)
    weight = (graph.rng.standard_normal((4, 4, 1, 1)) * 0.3).astype(np.float32)
    weight[1] *= 1e-12
    weight[3] = 0.0
    bias = np.array([0.5, 1000.0, -0.25, -700.0], np.float32)
    graph.output(graph.op("Conv", graph.input("x", 4, 3, 3), graph.constant(weight), graph.constant(bias)))
    study = Study(graph.model())
    config = QuantizeConfig(weight_granularity=granularity, weight_dtype=weight_dtype)
    candidate = study.build(config)
    assert executed(candidate, study.feeds)["QLinearConv"] == 1
    stored = weights_of(candidate)
    assert np.abs(stored["Conv_0_bias_quantized"].astype(np.int64)).max() <= 2**30
    np.testing.assert_allclose(
        stored["Conv_0_bias_quantized"] * stored["Conv_0_bias_scale"].astype(np.float64), bias, rtol=1e-2, atol=2e-2
    )
    step = float(stored["t0_scale"])
    found, expected = run(candidate, study.feeds)["t0"], study.float_outputs()["t0"]
    assert np.abs(found[:, [1, 3]] - expected[:, [1, 3]]).max() <= 1.01 * step
    # The other channels keep their own scale where there is one per channel.
    if granularity == "per_channel" and weight_dtype == "int8":
        np.testing.assert_allclose(stored["Conv_0_weight_scale"][0], np.abs(weight[0]).max() / 127, rtol=1e-6)


def test_a_bias_that_fits_leaves_the_weights_alone() -> None:
    graph = FloatGraph(seed=9)
    graph.output(graph.conv(graph.input("x", 4, 3, 3), 4, 4, 1))
    study = Study(graph.model())
    weight = weights_of(study.model)["k0"]
    wq, sw = integer_weight(weight, 0)
    stored = weights_of(study.build(PLAIN))
    np.testing.assert_array_equal(stored["Conv_0_weight_quantized"], wq)
    np.testing.assert_array_equal(stored["Conv_0_weight_scale"], sw.reshape(-1))


def test_channels_of_zeros_stay_zero() -> None:
    graph = FloatGraph(seed=10)
    weight = (graph.rng.standard_normal((6, 4, 3, 3)) * 0.3).astype(np.float32)
    weight[[0, 4]] = 0.0
    x = graph.op("Conv", graph.input("x", 4, 6, 6), graph.constant(weight), kernel_shape=[3, 3], pads=[1] * 4)
    graph.output(graph.op("Relu", x))
    study = Study(graph.model())
    found = run(study.build(), study.feeds)["t1"]
    assert (found[:, [0, 4]] == 0).all()
    assert (found[:, [1, 2, 3, 5]] != 0).any()


def test_a_model_of_zeros() -> None:
    graph = FloatGraph()
    x = graph.input("x", 4, 6, 6)
    x = graph.op("Relu", graph.op("Conv", x, graph.constant(np.zeros((4, 4, 1, 1), np.float32))))
    graph.output(graph.op("Conv", x, graph.constant(np.zeros((2, 4, 1, 1), np.float32))))
    study = Study(graph.model())
    assert (run(study.build(), study.feeds)["t2"] == 0).all()


def test_zero_is_exact_everywhere() -> None:
    graph = FloatGraph(seed=11)
    graph.output(graph.op("Add", graph.input("x", 8), graph.constant(np.float32(0.0))))
    model = graph.model()
    study = Study(model, {"x": np.random.default_rng(0).uniform(1, 3, (8, 8)).astype(np.float32)})
    found = run(study.build(), {"x": np.zeros((1, 8), np.float32)})["t0"]
    assert (found == 0).all()

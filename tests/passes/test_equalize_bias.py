"""High-bias absorption: same outputs, smaller activations, and nothing where zeros would be padded."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autocompress.calibration.observer import TensorObserver
from autocompress.calibration.statistics import Statistics
from autocompress.errors import ConfigError, RecipeError
from autocompress.graph.model import model_bytes
from autocompress.passes.equalize import (
    AbsorptionConfig,
    CrossLayerConfig,
    EqualizePayload,
    SmoothConfig,
    absorb_high_biases,
    apply_scales,
    changed_channels,
    equalize,
    smooth,
)
from autocompress.recipe.builder import prepare

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, feeds_for, run

EXACT = AbsorptionConfig(sigmas=None)


def values_of(model: onnx.ModelProto, feeds, names=None) -> dict[str, np.ndarray]:
    """Inner tensors as the runtime computes them."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    names = [n for node in model.graph.node for n in node.output] if names is None else names
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return run(shown, feeds)


def statistics_of(model: onnx.ModelProto, feeds, axis: int = 1) -> Statistics:
    tensors = {}
    for name, values in values_of(model, feeds).items():
        observer = TensorObserver(name, axis if values.ndim != 3 else -1)
        observer.update(values, len(values))
        tensors[name] = observer.statistics()
    return Statistics(tensors, len(next(iter(feeds.values()))))


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}


def lifted(g: FloatGraph, count: int, offset: float = 6.0) -> str:
    """Biases so high for every other channel that nothing is ever below zero."""
    values = g.rng.uniform(0, 1, count)
    values[::2] += offset
    return g.constant(values.astype(np.float32), "high")


def same(model: onnx.ModelProto, changed: onnx.ModelProto, feeds, tolerance: float = 1e-5) -> bool:
    pairs = zip(run(model, feeds).values(), run(changed, feeds).values(), strict=True)
    return all(np.abs(new - old).max() <= tolerance * np.abs(old).max() for old, new in pairs)


def conv_chain(g: FloatGraph) -> None:
    x = g.op("Relu", g.op("Conv", g.input("x", 3, 6, 6), g.random(8, 3, 1, 1), lifted(g, 8)))
    g.output(g.op("Conv", x, g.random(4, 8, 3, 3), g.random(4)))


def pooled(g: FloatGraph) -> None:
    x = g.op("Relu", g.op("Conv", g.input("x", 3, 6, 6), g.random(8, 3, 1, 1), lifted(g, 8)))
    x = g.op("Flatten", g.op("MaxPool", g.op("AveragePool", x, kernel_shape=[2, 2]), kernel_shape=[2, 2]))
    g.output(g.op("Gemm", x, g.random(3, 8 * 16), transB=1))


def two_readers(g: FloatGraph) -> None:
    x = g.op("LeakyRelu", g.op("Conv", g.input("x", 3, 6, 6), g.random(8, 3, 1, 1), lifted(g, 8)), alpha=0.1)
    grouped = g.op("Conv", x, g.random(8, 1, 3, 3), group=8)
    g.output(grouped, g.op("Gemm", g.op("Flatten", g.op("GlobalAveragePool", x)), g.random(8, 3), g.random(1, 3)))


def matrices(g: FloatGraph) -> None:
    x = g.op("Add", lifted(g, 8), g.op("MatMul", g.input("x", 5, 6), g.random(6, 8)))
    g.output(g.op("Add", g.op("MatMul", g.op("Relu", x), g.random(8, 3)), g.random(3)))


CHAINS = (conv_chain, pooled, two_readers, matrices)


@pytest.mark.parametrize("build", CHAINS)
def test_high_channels_come_down_to_zero(build):
    g = FloatGraph()
    build(g)
    model = prepare(g.model())
    feeds = feeds_for(model)
    before = statistics_of(model, feeds)
    result = absorb_high_biases(model, before, EXACT)
    (change,) = result.changes
    lows = before[change.tensor].channels.minimum
    assert (lows[::2] > 1.0).all()
    np.testing.assert_array_equal(result.payload.shifts[change.tensor], np.maximum(lows, 0.0))
    assert same(model, result.model, feeds)
    after = statistics_of(result.model, feeds)[change.tensor].channels
    np.testing.assert_allclose(after.minimum[::2], 0.0, atol=1e-5)
    assert after.maximum.max() < before[change.tensor].channels.maximum.max() - 1.0
    assert model_bytes(apply_scales(model, result.payload)) == model_bytes(result.model)


def test_sigmas_cut_off_a_known_share():
    g = FloatGraph()
    wide = g.constant((np.eye(3)[:, :, None, None] * np.ones((3, 3, 1, 1))).astype(np.float32))
    x = g.op("Relu", g.op("Conv", g.input("x", 3, 64, 64), wide, g.constant(np.full(3, 5, np.float32))))
    g.output(g.op("Conv", x, g.random(2, 3, 1, 1)))
    model = prepare(g.model())
    feeds = feeds_for(model)
    statistics = statistics_of(model, feeds)
    shifts = absorb_high_biases(model, statistics, AbsorptionConfig(sigmas=2.0)).payload.shifts["t1"]
    np.testing.assert_allclose(shifts, 3.0, atol=0.05)
    values = values_of(model, feeds, ["t1"])["t1"]
    share = (values < shifts[:, None, None]).mean()
    assert share == pytest.approx(0.02275, abs=0.003)  # of a normal distribution, two deviations below the mean
    # The minimum cuts off nothing, so it is taken where it is higher than the mean less many deviations.
    far = absorb_high_biases(model, statistics, AbsorptionConfig(sigmas=30.0)).payload.shifts["t1"]
    np.testing.assert_array_equal(far, statistics["t1"].channels.minimum)


def test_a_bias_is_made_where_there_is_none():
    g = FloatGraph()
    pooled(g)
    model = prepare(g.model())
    feeds = feeds_for(model)
    result = absorb_high_biases(model, statistics_of(model, feeds), EXACT)
    gemm = result.model.graph.node[-1]
    assert len(gemm.input) == 3
    shift = result.payload.shifts["t1"].repeat(16)
    np.testing.assert_allclose(weights(result.model)[gemm.input[2]], weights(model)[gemm.input[1]] @ shift, rtol=1e-5)


REFUSED = {
    "pads with zeros": lambda g, x: g.op("Conv", x, g.random(4, 8, 3, 3), pads=[1] * 4),
    "(Sigmoid) reads it": lambda g, x: g.op("Conv", g.op("Sigmoid", x), g.random(4, 8, 1, 1)),
    "is an output of the model": lambda g, x: x,
    "(AveragePool) reads it": lambda g, x: g.op(
        "Conv", g.op("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4), g.random(4, 8, 1, 1)
    ),
    "has no bias": lambda g, x: g.op("MatMul", g.op("Transpose", x, perm=[0, 2, 3, 1]), g.random(8, 3)),
    "multiplies its bias": lambda g, x: g.op(
        "Gemm", g.op("Flatten", g.op("GlobalMaxPool", x)), g.random(8, 3), g.random(3), beta=2.0
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_a_shift_would_change_is_left_alone(reason):
    g = FloatGraph()
    x = g.op("Relu", g.op("Conv", g.input("x", 3, 6, 6), g.random(8, 3, 1, 1), lifted(g, 8)), out="shifted")
    g.output(REFUSED[reason](g, x))
    model = prepare(g.model())
    feeds = feeds_for(model)
    result = absorb_high_biases(model, statistics_of(model, feeds), EXACT)
    assert not result.changes
    assert any(reason in entry.reason for entry in result.skipped)
    with pytest.raises(RecipeError, match="does not allow"):
        apply_scales(model, EqualizePayload(shifts={"shifted": np.ones(8)}))


def test_a_falling_slope_is_left_alone():
    g = FloatGraph()
    x = g.op("Conv", g.input("x", 3, 6, 6), g.random(8, 3, 1, 1), lifted(g, 8))
    x = g.op("PRelu", x, g.constant(np.full((8, 1, 1), -0.5, np.float32)))
    g.output(g.op("Conv", x, g.random(4, 8, 1, 1)))
    model = prepare(g.model())
    result = absorb_high_biases(model, statistics_of(model, feeds_for(model)), EXACT)
    assert "negative slope" in result.skipped[0].reason


def test_a_channel_that_reaches_its_upper_bound_is_left_alone():
    g = FloatGraph()
    x = g.op("Conv", g.input("x", 3, 6, 6), g.random(8, 3, 1, 1), lifted(g, 8))
    x = g.op("Clip", x, g.constant(np.float32(0)), g.constant(np.float32(8.0)))
    g.output(g.op("Conv", x, g.random(4, 8, 1, 1)))
    model = prepare(g.model())
    feeds = feeds_for(model)
    statistics = statistics_of(model, feeds)
    known = statistics["t1"].channels
    reached = known.maximum >= np.float32(8.0)
    assert reached.any() and (~reached & (known.minimum > 0)).any()
    result = absorb_high_biases(model, statistics, EXACT)
    shifts = result.payload.shifts["t1"]
    np.testing.assert_array_equal(shifts, np.where(reached, 0.0, np.maximum(known.minimum, 0.0)))
    assert same(model, result.model, feeds)


def test_centring_a_normalization():
    g = FloatGraph()
    x = g.op("LayerNormalization", g.input("x", 5, 6), g.random(6), g.constant(np.arange(6, dtype=np.float32)), axis=-1)
    g.output(g.op("Add", g.op("MatMul", x, g.random(6, 3)), g.random(3)))
    model = prepare(g.model())
    feeds = feeds_for(model)
    result = absorb_high_biases(model, statistics_of(model, feeds), AbsorptionConfig(center=True))
    assert same(model, result.model, feeds)
    after = statistics_of(result.model, feeds)["t0"].channels
    np.testing.assert_allclose(after.minimum, -after.maximum, atol=1e-5)
    assert not absorb_high_biases(model, statistics_of(model, feeds)).changes


def test_statistics_of_the_changed_model_are_known():
    g = FloatGraph()
    x = g.op("Relu", g.op("Conv", g.input("x", 3, 6, 6), g.random(8, 3, 1, 1), lifted(g, 8)))
    x = g.op("Relu", g.op("Conv", x, g.random(8, 1, 1, 1), g.random(8), group=8))
    g.output(g.op("Gemm", g.op("Flatten", g.op("GlobalAveragePool", x)), g.random(8, 3)))
    model = prepare(g.model())
    feeds = feeds_for(model)
    statistics = statistics_of(model, feeds)
    for change in (
        equalize(model, statistics, CrossLayerConfig(clips="skip")),
        smooth(model, statistics, SmoothConfig(alpha=0.5)),
        absorb_high_biases(model, statistics, EXACT),
    ):
        found = changed_channels(model, change.payload, statistics)
        again = statistics_of(change.model, feeds)
        assert found
        for name, channels in found.items():
            for field in ("minimum", "maximum", "sum", "sum_of_squares"):
                expected = getattr(again[name].channels, field)
                scale = max(np.abs(expected).max(), 1.0)
                np.testing.assert_allclose(getattr(channels, field), expected, rtol=1e-5, atol=1e-5 * scale)
        for name in set(statistics) - set(found):
            np.testing.assert_allclose(again[name].channels.maximum, statistics[name].channels.maximum, rtol=1e-4)


def test_statistics_that_only_another_pass_knows_are_named():
    g = FloatGraph()
    conv_chain(g)
    model = prepare(g.model())
    statistics = statistics_of(model, feeds_for(model))
    payload = absorb_high_biases(model, statistics, AbsorptionConfig(sigmas=0.5)).payload
    found = changed_channels(model, payload, statistics)
    assert set(found) == {"t0", "t1"}
    assert found["t0"] is not None and found["t1"] is None


def test_no_statistics_no_change():
    g = FloatGraph()
    conv_chain(g)
    result = absorb_high_biases(prepare(g.model()), Statistics({}, 0))
    assert not result.changes
    assert "no statistics per channel" in result.skipped[0].reason


@pytest.mark.parametrize("sigmas", [-1.0, float("inf"), float("nan")])
def test_impossible_sigmas_are_refused(sigmas):
    with pytest.raises(ConfigError, match="sigmas"):
        AbsorptionConfig(sigmas=sigmas)

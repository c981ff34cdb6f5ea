"""Cross-layer equalization: ranges meet where the paper says, bounds are respected, int8 gets better."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autocompress.calibration.observer import TensorObserver
from autocompress.calibration.statistics import Statistics
from autocompress.errors import ConfigError
from autocompress.graph.model import model_bytes
from autocompress.passes.equalize import CrossLayerConfig, EqualizePayload, apply_scales, equalize
from autocompress.passes.equalize.clips import reached_share
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.builder import prepare

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, feeds_for, run

SKIP = CrossLayerConfig(clips="skip")
TIGHT = CrossLayerConfig(clips="skip", tolerance=1e-6)


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {w.name: numpy_helper.to_array(w).astype(np.float64) for w in model.graph.initializer}


def largest(weight: np.ndarray, axis: int) -> np.ndarray:
    return np.abs(weight).max(axis=tuple(i for i in range(weight.ndim) if i != axis))


def uneven(g: FloatGraph, name: str, *shape: int) -> str:
    """Weights whose channels differ by orders of magnitude, along both axes."""
    values = g.rng.standard_normal(shape)
    for axis in (0, 1):
        spread = [shape[axis] if i == axis else 1 for i in range(len(shape))]
        values = values * np.exp(g.rng.normal(scale=1.5, size=spread))
    return g.constant(values.astype(np.float32), name)


def pair() -> onnx.ModelProto:
    g = FloatGraph()
    x = g.op("Conv", g.input("x", 3, 6, 6), uneven(g, "w1", 8, 3, 3, 3), g.random(8), pads=[1] * 4)
    g.output(g.op("Conv", g.op("Relu", x), uneven(g, "w2", 4, 8, 1, 1)))
    return prepare(g.model())


def separable(clip: bool = False) -> onnx.ModelProto:
    """Pointwise, depthwise, pointwise, as in MobileNet; with ``clip`` the activations end at 4."""
    g = FloatGraph()
    bounds = [g.constant(np.float32(0)), g.constant(np.float32(4))]

    def activation(x: str) -> str:
        return g.op("Clip", x, *bounds) if clip else g.op("Relu", x)

    x = activation(g.op("Conv", g.input("x", 3, 8, 8), uneven(g, "w1", 8, 3, 1, 1), g.random(8)))
    x = activation(g.op("Conv", x, uneven(g, "w2", 8, 1, 3, 3), g.random(8), group=8, pads=[1] * 4))
    g.output(g.op("Conv", x, uneven(g, "w3", 4, 8, 1, 1), g.random(4)))
    return prepare(g.model())


def statistics_of(model: onnx.ModelProto, feeds) -> Statistics:
    """Statistics of every result of a convolution's activation, by running the model."""
    names = [node.output[0] for node in model.graph.node][:-1]
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    tensors = {}
    for name, values in run(shown, feeds).items():
        observer = TensorObserver(name, 1)
        observer.update(values, len(values))
        tensors[name] = observer.statistics()
    return Statistics(tensors, len(feeds["x"]))


def test_two_layers_get_the_geometric_mean_of_their_ranges():
    model = pair()
    before = weights(model)
    first, second = largest(before["w1"], 0), largest(before["w2"], 1)
    result = equalize(model, config=TIGHT)
    after = weights(result.model)
    np.testing.assert_allclose(result.payload.scales["t0"], np.sqrt(first / second), rtol=1e-5)
    np.testing.assert_allclose(largest(after["w1"], 0), np.sqrt(first * second), rtol=1e-5)
    np.testing.assert_allclose(largest(after["w2"], 1), np.sqrt(first * second), rtol=1e-5)
    assert [(c.producers, c.readers) for c in result.changes] == [(("Conv_0",), ("Conv_2",))]
    assert [s.node for s in result.skipped] == ["Conv_2"]


def test_a_depthwise_triple_gets_the_cube_root():
    model = separable()
    before = weights(model)
    ranges = largest(before["w1"], 0), largest(before["w2"], 0), largest(before["w3"], 1)
    after = weights(equalize(model, config=TIGHT).model)
    expected = np.cbrt(ranges[0] * ranges[1] * ranges[2])
    for found in (largest(after["w1"], 0), largest(after["w2"], 0), largest(after["w3"], 1)):
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_chain_of_dense_layers_converges():
    g = FloatGraph()
    x = g.input("x", 12)
    for i in range(6):
        x = g.op("Relu", g.op("Gemm", x, uneven(g, f"w{i}", 12, 12), g.random(12)))
    g.output(g.op("Gemm", x, uneven(g, "w6", 12, 3)))
    model = prepare(g.model())
    result = equalize(model, config=SKIP)
    after = weights(result.model)
    for i in range(6):
        ratio = largest(after[f"w{i}"], 1) / largest(after[f"w{i + 1}"], 0)
        assert np.abs(np.log(ratio)).max() < 2e-3
    feeds = feeds_for(model)
    (old,), (new,) = run(model, feeds).values(), run(result.model, feeds).values()
    assert np.abs(new - old).max() <= 1e-5 * np.abs(old).max()


def test_channels_behind_a_residual_share_their_factors():
    g = FloatGraph()
    x = g.op("Conv", g.input("x", 3, 6, 6), uneven(g, "w1", 8, 3, 1, 1))
    y = g.op("Conv", x, uneven(g, "w2", 8, 8, 1, 1))
    g.output(g.op("Conv", g.op("Add", x, y), uneven(g, "w3", 4, 8, 1, 1)))
    result = equalize(prepare(g.model()), config=SKIP)
    assert list(result.payload.scales) == ["t0"]
    after = weights(result.model)
    written = np.maximum(largest(after["w1"], 0), largest(after["w2"], 0))
    read = np.maximum(largest(after["w2"], 1), largest(after["w3"], 1))
    assert np.abs(np.log(written / read)).max() < 2e-3


@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
def test_int8_recovers_from_badly_scaled_channels(granularity):
    g = FloatGraph(3)
    x = g.op("Relu", g.conv(g.input("x", 3, 8, 8), 3, 16))
    x = g.op("Relu", g.conv(x, 16, 16, group=16))
    g.output(g.op("Flatten", g.conv(x, 16, 6, 1)))
    good = prepare(g.model())
    factors = {f"t{i}": 2.0 ** np.random.default_rng(i).uniform(-5, 5, 16) for i in (0, 2)}
    bad = apply_scales(good, EqualizePayload(scales=factors))
    (exact,) = run(bad, feeds_for(bad)).values()

    def error(model: onnx.ModelProto) -> float:
        study = Study(model)
        (found,) = run(study.build(QuantizeConfig(weight_granularity=granularity)), study.feeds).values()
        return float(((found - exact) ** 2).mean() / (exact**2).mean())

    repaired = equalize(bad, config=SKIP).model
    assert error(repaired) < error(bad) / 20
    assert error(repaired) < 4e-3


def test_unused_and_silent_channels_keep_their_scale():
    g = FloatGraph()
    first, second = np.ones((4, 3, 1, 1), np.float32), np.full((2, 4, 1, 1), 4.0, np.float32)
    first[1], second[:, 2] = 0.0, 0.0
    x = g.op("Relu", g.op("Conv", g.input("x", 3, 4, 4), g.constant(first, "w1")))
    g.output(g.op("Conv", x, g.constant(second, "w2")))
    np.testing.assert_array_equal(equalize(prepare(g.model())).payload.scales["t0"], [0.5, 1.0, 1.0, 0.5])


def test_factors_stay_within_their_limit():
    model = pair()
    scales = equalize(model, config=CrossLayerConfig(largest_factor=1.5)).payload.scales["t0"]
    assert scales.min() == pytest.approx(1 / 1.5)
    assert scales.max() == pytest.approx(1.5)


def test_a_bound_is_left_alone_where_asked():
    result = equalize(separable(clip=True), config=SKIP)
    assert not result.changes
    assert [s.reason for s in result.skipped] == ["'Clip_1' bounds it from above", "'Clip_3' bounds it from above",
                                                 "'t4' is an output of the model"]  # fmt: skip


def test_a_bound_without_statistics_is_left_alone():
    result = equalize(separable(clip=True), None, CrossLayerConfig(clips="within"))
    assert not result.changes
    assert "no statistics per channel of 't1'" in result.skipped[0].reason


def test_channels_within_a_bound_are_equalized_and_others_keep_their_scale():
    model = separable(clip=True)
    feeds = feeds_for(model, 4)
    statistics = statistics_of(model, feeds)
    headroom = 1.25
    result = equalize(model, statistics, CrossLayerConfig(clips="within", headroom=headroom))
    for anchor, tensor in (("t0", "t1"), ("t2", "t3")):
        highest = statistics[tensor].channels.maximum.astype(np.float64)
        factors = result.payload.scales[anchor]
        assert 0 < (highest >= 4.0).sum() < 8
        assert (factors[highest >= 4.0] == 1.0).all()
        assert (factors >= np.minimum(highest * headroom / 4.0, 1.0) * (1 - 1e-12)).all()
        assert (factors[highest < 4.0] != 1.0).any()
    (old,), (new,) = run(model, feeds).values(), run(result.model, feeds).values()
    assert np.abs(new - old).max() <= 1e-5 * np.abs(old).max()
    assert [n.op_type for n in result.model.graph.node] == [n.op_type for n in model.graph.node]


@pytest.mark.parametrize(("headroom", "same"), [(1.0, False), (1.3, True)])
def test_headroom_covers_inputs_beyond_the_calibrated_ones(headroom, same):
    """One channel reaches the bound; the other never does, and wants to be as large as it may."""
    g = FloatGraph()
    x = g.op("Conv", g.input("x", 1, 4, 4), g.constant(np.array([[[[10.0]]], [[[1.0]]]], np.float32)))
    x = g.op("Clip", x, g.constant(np.float32(0)), g.constant(np.float32(6)))
    g.output(g.op("Conv", x, g.constant(np.array([[[[1.0]], [[1000.0]]]], np.float32))))
    model = prepare(g.model())
    feeds = {"x": np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 1, 4, 4)}
    config = CrossLayerConfig(clips="within", headroom=headroom)
    result = equalize(model, statistics_of(model, feeds), config)
    np.testing.assert_allclose(result.payload.scales["t0"], [1.0, headroom / 6.0])
    more = {"x": feeds["x"] * 1.3}
    (old,), (new,) = run(model, more).values(), run(result.model, more).values()
    assert (np.abs(new - old).max() <= 1e-5 * np.abs(old).max()) == same


def test_a_bound_goes_where_hardly_anything_reaches_it():
    model = separable(clip=True)
    feeds = feeds_for(model, 8)
    statistics = statistics_of(model, feeds)
    shares = {name: reached_share(statistics[name], 4.0) for name in ("t1", "t3")}
    shown = {name: float((values >= 4.0).mean()) for name, values in _values(model, feeds, ("t1", "t3")).items()}
    assert shares == pytest.approx(shown)
    assert min(shares.values()) > 0.0
    low, high = sorted(shares, key=shares.__getitem__)
    config = CrossLayerConfig(clips="unbound", saturated_share=(shares[low] + shares[high]) / 2)
    result = equalize(model, statistics, config)
    (gone,) = result.payload.unbounded
    assert next(n for n in model.graph.node if n.name == gone).output[0] == low
    assert model_bytes(apply_scales(model, result.payload)) == model_bytes(result.model)
    assert all(change.tensor == ("t0" if low == "t1" else "t2") for change in result.changes)
    everything = equalize(model, statistics, CrossLayerConfig(clips="unbound", saturated_share=1.0))
    assert len(everything.payload.unbounded) == 2
    assert not equalize(model, statistics, CrossLayerConfig(clips="unbound", saturated_share=0.0)).payload.unbounded


def _values(model: onnx.ModelProto, feeds, names):
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return run(shown, feeds)


@pytest.mark.parametrize(
    ("field", "value"),
    [("clips", "remove"), ("headroom", 0.9), ("saturated_share", 2.0), ("largest_factor", 0.5), ("tolerance", 0.0),
     ("sweeps", 0)],
)  # fmt: skip
def test_impossible_configurations_are_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        CrossLayerConfig(**{field: value})

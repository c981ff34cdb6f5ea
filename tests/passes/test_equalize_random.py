"""On random graphs: scaling any channels that can be scaled, by any factors, keeps the function."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autocompress.calibration.statistics import Statistics
from autocompress.graph.model import model_bytes
from autocompress.graph.normalize import normalize
from autocompress.passes.equalize import (
    CrossLayerConfig,
    EqualizePayload,
    absorb_high_biases,
    apply_scales,
    equalize,
    smooth,
)
from autocompress.passes.equalize.bias_absorption import AbsorptionConfig
from autocompress.passes.equalize.groups import find_groups
from autocompress.passes.equalize.network import Network
from autocompress.passes.equalize.smooth import SmoothConfig

sys.path.append(str(Path(__file__).parent))
from quantize_models import ArraySource, FloatGraph, feeds_for

from autocompress.calibration.collect import collect
from autocompress.calibration.outputs import ActivationSessions
from autocompress.runtimes import get_runtime

SIDE = 4
STEPS = (
    "conv", "conv", "depthwise", "depthwise", "grouped", "relu", "clip", "clip", "clip", "prelu", "residual",
    "residual", "concat", "concat", "split", "pad", "pool", "resize", "gate", "sigmoid", "scale", "shuffle",
)  # fmt: skip


class RandomNet:
    """A net that grows by one step at a time; ``live`` are its feature maps with their channels."""

    def __init__(self, draw) -> None:
        self.draw = draw
        self.g = FloatGraph(draw(st.integers(0, 2**16)))
        self.live = [(self.g.input("x", 3, SIDE, SIDE), 3)]

    def pick(self) -> tuple[str, int]:
        return self.live[-1 - self.draw(st.integers(0, min(2, len(self.live) - 1)))]

    def grow(self, step: str) -> None:
        x, channels = self.pick()
        g = self.g
        if step == "conv":
            out = self.draw(st.sampled_from((2, 4, 6)))
            bias = self.draw(st.booleans())
            self.live.append((g.conv(x, channels, out, self.draw(st.sampled_from((1, 3))), bias=bias), out))
        elif step == "depthwise":
            self.live.append((g.conv(x, channels, channels, group=channels), channels))
        elif step == "grouped" and channels % 2 == 0:
            self.live.append((g.conv(x, channels, 4, 1, group=2), 4))
        elif step == "relu":
            self.live.append((g.op("Relu", x), channels))
        elif step == "clip":
            bounds = [g.constant(np.float32(0)), g.constant(np.float32(0.5))]
            self.live.append((g.op("Clip", x, *bounds), channels))
        elif step == "prelu":
            self.live.append((g.op("PRelu", x, g.random(channels, 1, 1)), channels))
        elif step == "residual":
            self.live.append((g.op("Add", x, g.conv(x, channels, channels, 1)), channels))
        elif step == "concat":
            y, more = self.pick()
            self.live.append((g.op("Concat", x, y, axis=1), channels + more))
        elif step == "split" and channels > 1:
            sizes = g.constant(np.array([1, channels - 1]))
            a, b = g.ops("Split", x, sizes, outs=[f"a{len(g.nodes)}", f"b{len(g.nodes)}"], axis=1)
            self.live += [(a, 1), (b, channels - 1)]
        elif step == "pad":
            padded = g.op("Pad", x, g.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1])))
            self.live.append((g.op("MaxPool", padded, kernel_shape=[2, 2]), channels))
        elif step == "pool":
            self.live.append((g.op("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4), channels))
        elif step == "resize":
            big = g.op("Resize", x, "", g.constant(np.array([1, 1, 2, 2], np.float32)), mode="linear")
            self.live.append((g.op("MaxPool", big, kernel_shape=[2, 2], strides=[2, 2]), channels))
        elif step == "gate":
            gate = g.op("Sigmoid", g.conv(g.op("GlobalAveragePool", x), channels, channels, 1))
            self.live.append((g.op("Mul", x, gate), channels))
        elif step == "sigmoid":
            self.live.append((g.op("Sigmoid", x), channels))
        elif step == "scale":
            self.live.append((g.op("Mul", g.random(channels, 1, 1), x), channels))
        elif step == "shuffle" and channels % 2 == 0:
            apart = g.op("Reshape", x, g.constant(np.array([-1, 2, channels // 2, SIDE, SIDE])))
            turned = g.op("Transpose", apart, perm=[0, 2, 1, 3, 4])
            self.live.append((g.op("Reshape", turned, g.constant(np.array([-1, channels, SIDE, SIDE]))), channels))

    def model(self):
        x, channels = self.live[-1]
        y = self.g.op("Flatten", self.g.op("Relu", self.g.conv(x, channels, 4)))
        self.g.output(self.g.op("Gemm", y, self.g.random(4 * SIDE * SIDE, 3), self.g.random(3)))
        return normalize(self.g.model())


@st.composite
def nets(draw):
    net = RandomNet(draw)
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=2, max_size=10)):
        net.grow(step)
    return net.model()


def outputs(model, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def statistics_of(model, feeds) -> Statistics:
    tensors = [name for node in model.graph.node for name in node.output]
    sessions = ActivationSessions(model, lambda m: get_runtime("onnxruntime").load(model_bytes(m)))
    return collect(sessions, ArraySource(feeds), range(len(feeds["x"])), [*tensors, "x"])


def assert_same(before, after):
    assert np.abs(after - before).max() <= 1e-5 * max(np.abs(before).max(), 1e-3)


def settings_for(examples):
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(nets(), st.integers(0, 2**16))
@settings_for(150)
def test_any_factors_for_any_group(model, seed):
    # Bounded activations allow none: they take part in passes that see to their bounds.
    groups = [g for g in find_groups(Network(model), lambda node: True)[0] if not g.bounds]
    rng = np.random.default_rng(seed)
    feeds = feeds_for(model, 2)
    before = outputs(model, feeds)
    exact = EqualizePayload(scales={g.anchor: 2.0 ** rng.integers(-3, 4, g.channels) for g in groups})
    np.testing.assert_array_equal(outputs(apply_scales(model, exact), feeds), before)
    payload = EqualizePayload(scales={g.anchor: np.exp(rng.normal(size=g.channels)) for g in groups})
    assert_same(before, outputs(apply_scales(model, payload), feeds))


@given(nets())
@settings_for(60)
def test_every_pass_keeps_the_function_on_calibration_data(model):
    feeds = feeds_for(model, 4)
    before = outputs(model, feeds)
    statistics = statistics_of(model, feeds)
    given_bytes = model_bytes(model)
    for result in (
        equalize(model, statistics, CrossLayerConfig(clips="skip")),
        equalize(model, statistics, CrossLayerConfig(clips="within")),
        smooth(model, statistics, SmoothConfig(alpha=0.5, where=("norm", "layer", "insert"))),
        smooth(model, statistics),
        absorb_high_biases(model, statistics, AbsorptionConfig(sigmas=None, center=True)),
    ):
        assert_same(before, outputs(result.model, feeds))
        assert model_bytes(apply_scales(model, result.payload)) == model_bytes(result.model)
    assert model_bytes(model) == given_bytes


@given(nets())
@settings_for(60)
def test_equalizing_twice_changes_nothing_further(model):
    once = equalize(model, None, CrossLayerConfig(clips="skip", largest_factor=2.0**40))
    again = equalize(once.model, None, CrossLayerConfig(clips="skip", largest_factor=2.0**40))
    assert not again.changes
    assert model_bytes(again.model) == model_bytes(once.model)

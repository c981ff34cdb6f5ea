"""What must hold of a quantized model as a whole, whatever the algorithm and however odd the calibration data."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocompress.calibration.collect import collect
from autocompress.calibration.observer import statistics_of
from autocompress.calibration.outputs import ActivationSessions
from autocompress.calibration.ranges import ALGORITHMS, compute_range
from autocompress.calibration.scheme import Scheme, dequantize, quantization_parameters, quantize
from autocompress.calibration.statistics import Statistics
from autocompress.errors import DataError
from autocompress.graph.model import fingerprint, model_bytes
from autocompress.passes.equalize import AbsorptionConfig, SmoothConfig, absorb_high_biases, equalize, smooth
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.recipe import Recipe
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parents[1] / "passes"))
from quantize_models import (
    Arrays,
    ArraySource,
    FloatGraph,
    collect_statistics,
    executed,
    feeds_for,
    reference,
    run,
    weights_of,
)

PLAIN = QuantizeConfig(bias_correction=False)
SAMPLES = 8


def convolutional(g: FloatGraph) -> None:
    """Normalization to fold, a bounded activation, a depthwise layer, a residual, a matrix."""
    x = g.conv(g.input("x", 4, 6, 6), 4, 8, bias=False)
    scale, shift, mean = (g.random(8) for _ in range(3))
    x = g.op("BatchNormalization", x, scale, shift, mean, g.constant(np.linspace(0.5, 2.0, 8, dtype=np.float32)))
    x = g.op("Clip", x, g.constant(np.float32(0)), g.constant(np.float32(6)))
    y = g.op("Relu", g.conv(x, 8, 8, group=8))
    x = g.op("Add", g.conv(y, 8, 8, 1), x)
    x = g.op("Flatten", g.op("GlobalAveragePool", x))
    g.output(g.op("Gemm", x, g.random(5, 8), g.random(5), transB=1))


def attentive(g: FloatGraph) -> None:
    """A block of an encoder: normalization, products with weights and with each other, a residual."""
    x = g.input("x", 5, 8)
    n = g.op("LayerNormalization", x, g.random(8), g.random(8), axis=-1)
    q, k, v = (g.op("Add", g.op("MatMul", n, g.random(8, 8)), g.random(8)) for _ in range(3))
    scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 2, 1]))
    mixed = g.op("MatMul", g.op("Softmax", scores, axis=-1), v)
    g.output(g.op("Add", g.op("MatMul", mixed, g.random(8, 8)), x))


MODELS: dict[str, Callable[[FloatGraph], None]] = {"convolutional": convolutional, "attentive": attentive}


def build_float(name: str, seed: int = 0) -> onnx.ModelProto:
    graph = FloatGraph(seed)
    MODELS[name](graph)
    return graph.model()


def builder_of(model: onnx.ModelProto) -> CandidateBuilder:
    return CandidateBuilder(prepare(model), "onnxruntime", fingerprint(model))


def quantized(builder: CandidateBuilder, statistics: Statistics, config: QuantizeConfig) -> onnx.ModelProto:
    candidate = builder.build(builder.freeze(Recipe(config), statistics))
    onnx.checker.check_model(candidate, full_check=True)
    return candidate


def every_statistic(model: onnx.ModelProto, feeds: Arrays) -> Statistics:
    """Statistics of all float tensors, as passes that keep the function need them."""
    tensors = [*feeds, *(name for node in model.graph.node for name in node.output)]
    sessions = ActivationSessions(model, lambda m: get_runtime("onnxruntime").load(model_bytes(m)))
    return collect(sessions, ArraySource(feeds), range(len(next(iter(feeds.values())))), tensors)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_emitted_weights_keep_the_promises_of_their_grid(algorithm: str, granularity: str, name: str) -> None:
    builder = builder_of(build_float(name))
    statistics = collect_statistics(builder, feeds_for(builder.prepared, SAMPLES))
    config = QuantizeConfig(weight_range=algorithm, weight_granularity=granularity, bias_correction=False)
    stored, original = weights_of(quantized(builder, statistics, config)), weights_of(builder.prepared)
    with_weights = [unit for unit in builder.quantizer.units if unit.weight is not None]
    assert with_weights
    for unit in with_weights:
        integers = stored[f"{unit.name}_weight_quantized"].astype(np.int64)
        assert integers.min() >= -127, "the lowest integer has no partner, and kernels of older processors overflow"
        weight, scale = original[str(unit.weight)].astype(np.float64), stored[f"{unit.name}_weight_scale"]
        axis = 0 if weight.ndim == 4 or weight.shape[0] == scale.size != weight.shape[1] else 1
        step = scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)]) if scale.ndim else scale
        inside = np.abs(weight) <= 127 * step
        assert inside.mean() > 0.8
        assert (np.abs(integers * step - weight) <= step * (0.5 + 1e-4))[inside].all()
        assert (np.abs(integers) == 127)[~inside].all(), "what lies beyond the range saturates"


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=1, max_size=60),
    algorithm=st.sampled_from(tuple(ALGORITHMS)),
    dtype=st.sampled_from(("uint8", "int8", "uint4", "int4", "uint16")),
    symmetric=st.booleans(),
)
def test_any_values_under_any_algorithm(values: list[float], algorithm: str, dtype: str, symmetric: bool) -> None:
    """From values to integers and back: half a step inside the range, its end outside, zero exact."""
    array, scheme = np.array([*values, 0.0], np.float32), Scheme(dtype, symmetric)
    found = compute_range(statistics_of(array), algorithm, bits=scheme.bits, symmetric=symmetric, signed=scheme.signed)
    scale, zero = quantization_parameters(found.low, found.high, scheme)
    integers = quantize(array, scale, zero, scheme)
    back = dequantize(integers, scale, zero, scheme).astype(np.float64)
    ends = (np.array([scheme.qmin, scheme.qmax], np.float64) - float(zero)) * float(scale)
    nearest = np.clip(array.astype(np.float64), *ends)
    rounding = 4 * np.finfo(np.float32).eps * np.abs(nearest)
    assert (np.abs(back - nearest) <= 0.5 * float(scale) * (1 + 1e-5) + rounding).all()
    assert back[-1] == 0.0
    assert (quantize(back.astype(np.float32), scale, zero, scheme) == integers).all()


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(SAMPLES)), cut=st.integers(1, SAMPLES - 1), algorithm=st.sampled_from([*ALGORITHMS]))
def test_order_and_shards_of_samples_give_the_same_bytes(order: list[int], cut: int, algorithm: str) -> None:
    builder = builder_of(build_float("convolutional"))
    feeds = feeds_for(builder.prepared, SAMPLES)
    config = QuantizeConfig(activation_range=algorithm, bias_correction=False)
    expected = model_bytes(quantized(builder, collect_statistics(builder, feeds), config))
    parts = [{k: v[chosen] for k, v in feeds.items()} for chosen in (order[:cut], order[cut:])]
    shards = [collect_statistics(builder, part) for part in parts]
    for first, second in itertools.permutations(shards):
        assert model_bytes(quantized(builder, first.merge(second), config)) == expected


ODD_SAMPLES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "one sample": lambda x: x[:1],
    "the same sample again and again": lambda x: np.repeat(x[:1], SAMPLES, axis=0),
    "constants": lambda x: np.full_like(x, 0.7),
    "zeros": np.zeros_like,
    "nothing negative": np.abs,
    "denormal": lambda x: x * np.float32(1e-39),
    "tiny": lambda x: x * np.float32(1e-20),
    "one huge value": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 3, np.float32(1e6), x),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("odd", ODD_SAMPLES)
def test_odd_calibration_data_gives_a_right_model(odd: str, name: str) -> None:
    """On the very data it was calibrated with, the candidate answers like the float model, as 8 bits allow."""
    builder = builder_of(build_float(name))
    feeds = {"x": ODD_SAMPLES[odd](feeds_for(builder.prepared, SAMPLES)["x"]).astype(np.float32)}
    statistics = collect_statistics(builder, feeds)
    expected = run(builder.prepared, feeds)
    for algorithm in ALGORITHMS:
        candidate = quantized(builder, statistics, QuantizeConfig(activation_range=algorithm))
        for output, values in run(candidate, feeds).items():
            assert np.isfinite(values).all()
            assert values.shape == expected[output].shape
    found = run(quantized(builder, statistics, PLAIN), feeds)
    if odd != "one huge value":  # which leaves the others less than a step
        for output, values in found.items():
            largest = max(float(np.abs(expected[output]).max()), 1e-30)
            assert np.abs(values - expected[output]).max() <= 0.1 * largest


def test_nan_that_the_model_makes_is_named() -> None:
    graph = FloatGraph()
    x = graph.op("Log", graph.conv(graph.input("x", 4, 6, 6), 4, 4), out="logarithm")
    graph.output(graph.conv(x, 4, 4))
    builder = builder_of(graph.model())
    with pytest.raises(DataError, match="'logarithm' holds NaN or Inf") as caught:
        collect_statistics(builder, feeds_for(builder.prepared))
    assert str(caught.value).count(". ") == 0, "one sentence"


def test_the_order_of_named_inputs_does_not_matter() -> None:
    graph = FloatGraph()
    graph.output(graph.op("Add", graph.conv(graph.input("a", 4, 5, 5), 4, 4), graph.input("b", 4, 5, 5)))
    builder = builder_of(graph.model())
    feeds = feeds_for(builder.prepared)
    turned = dict(reversed(feeds.items()))
    assert list(turned) != list(feeds)
    here, there = (model_bytes(quantized(builder, collect_statistics(builder, f), PLAIN)) for f in (feeds, turned))
    assert here == there


PASSES: dict[str, Callable[[onnx.ModelProto, Statistics], onnx.ModelProto]] = {
    "cross-layer equalization": lambda m, s: equalize(m, s).model,
    "absorption": lambda m, s: absorb_high_biases(m, s, AbsorptionConfig(center=True)).model,
    "SmoothQuant": lambda m, s: smooth(m, s, SmoothConfig(alpha=0.5)).model,
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("order", list(itertools.permutations(PASSES)), ids=", ".join)
def test_passes_after_each_other_leave_the_float_function(order: tuple[str, ...], name: str) -> None:
    model = build_float(name, seed=4)
    feeds = feeds_for(model, SAMPLES)
    (expected,) = run(model, feeds).values()
    changed = prepare(model)
    for step in order:
        changed = PASSES[step](changed, every_statistic(changed, feeds))
        (found,) = run(changed, feeds).values()
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max(), step
    assert model_bytes(changed) != model_bytes(prepare(model)), "something was done"


@pytest.mark.parametrize("activation_dtype", ["uint8", "int8"])
@pytest.mark.parametrize("sharpness", [0.01, 1.0, 30.0])
def test_attention_of_any_sharpness(sharpness: float, activation_dtype: str) -> None:
    """From equal weights, which ask for a scale that the runtime's kernel cannot take, to weights of nearly one."""
    graph = FloatGraph()
    scores = graph.op("Mul", graph.input("x", 40, 40), graph.constant(np.float32(sharpness)))
    graph.output(graph.op("Softmax", scores, axis=-1))
    builder = builder_of(graph.model())
    feeds = feeds_for(builder.prepared)
    config = QuantizeConfig(activation_dtype=activation_dtype)
    candidate = quantized(builder, collect_statistics(builder, feeds), config)
    assert executed(candidate, feeds)["QLinearSoftmax"] == 1
    (found,), (expected,) = run(candidate, feeds).values(), reference(candidate, feeds).values()
    assert np.abs(found - expected).max() <= 2.01 / 255

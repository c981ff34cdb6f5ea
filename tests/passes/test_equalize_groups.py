"""Which channels can be scaled together: every pattern by itself.

Each case is a graph.  Whatever group is found is divided by arbitrary powers of two, which float32 carries without
rounding, so the outputs must stay the same to the last bit; with other factors, within 1e-5.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from autocompress.errors import RecipeError
from autocompress.graph.model import model_bytes
from autocompress.graph.normalize import normalize
from autocompress.passes.equalize import EqualizePayload, apply_scales
from autocompress.passes.equalize.groups import find_groups
from autocompress.passes.equalize.network import Network

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, feeds_for

Build = Callable[[FloatGraph], None]
# Anchor nodes that are found -> the layers that read their group.
FOUND: dict[str, tuple[Build, list[list[str]]]] = {}
# Reason why nothing is found.
REFUSED: dict[str, tuple[Build, str]] = {}


def found(*readers: list[str]) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        FOUND[build.__name__] = (build, list(readers))
        return build

    return register


def refused(reason: str) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        REFUSED[build.__name__] = (build, reason)
        return build

    return register


# What the operator set of these cases must be where it is not any.
NEEDS = {"normalization": (17, 21), "mean_over_positions": (13, 17), "mean_over_given_positions": (18, 21)}


def model_of(build: Build, opset: int = 17) -> onnx.ModelProto:
    graph = FloatGraph()
    build(graph)
    oldest, newest = NEEDS.get(build.__name__, (13, 21))
    return normalize(graph.model(min(max(opset, oldest), newest)))


def exact_outputs(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def dense(g: FloatGraph, x: str, rows: int, columns: int) -> str:
    return g.op("MatMul", x, g.random(rows, columns))


def ints(g: FloatGraph, *values: int) -> str:
    return g.constant(np.array(values, np.int64))


def floats(g: FloatGraph, *values: float) -> str:
    return g.constant(np.array(values, np.float32))


@found(["Conv_1"])
def two_convolutions(g):
    g.output(g.conv(g.conv(g.input("x", 3, 6, 6), 3, 8), 8, 4))


@found(["Conv_2"])
def relu_between(g):
    g.output(g.conv(g.op("Relu", g.conv(g.input("x", 3, 6, 6), 3, 8)), 8, 4))


@found(["Conv_2"])
def leaky_relu_between(g):
    g.output(g.conv(g.op("LeakyRelu", g.conv(g.input("x", 3, 6, 6), 3, 8), alpha=0.2), 8, 4, bias=False))


@found(["Conv_2"])
def parametric_relu_between(g):
    x = g.conv(g.input("x", 3, 6, 6), 3, 8)
    g.output(g.conv(g.op("PRelu", x, g.random(8, 1, 1)), 8, 4))


@found(["Conv_2"])
def clip_from_zero(g):
    x = g.op("Clip", g.conv(g.input("x", 3, 6, 6), 3, 8), floats(g, 0.0))
    g.output(g.conv(x, 8, 4))


@found(["Conv_2"], ["Conv_4"])
def depthwise_between(g):
    x = g.op("Relu", g.conv(g.input("x", 3, 6, 6), 3, 8))
    x = g.op("Relu", g.conv(x, 8, 8, group=8))
    g.output(g.conv(x, 8, 4, 1))


@found(["Conv_1"], ["Conv_2"])
def depthwise_with_multiplier(g):
    x = g.conv(g.input("x", 3, 6, 6), 3, 4)
    g.output(g.conv(g.conv(x, 4, 12, group=4), 12, 4, 1))


@found(["Conv_2"], ["Conv_3"])
def grouped_between(g):
    x = g.op("Relu", g.conv(g.input("x", 6, 6, 6), 6, 8, group=2))
    g.output(g.conv(g.conv(x, 8, 12, group=4), 12, 4, 1))


@found(["ConvTranspose_1"], ["Conv_2"])
def transposed_grouped_between(g):
    x = g.conv(g.input("x", 3, 5, 5), 3, 8)
    x = g.op("ConvTranspose", x, g.random(8, 3, 2, 2), g.random(6), strides=[2, 2], group=2)
    g.output(g.conv(x, 6, 4))


@found(["Conv_1"])
def convolution_in_one_dimension(g):
    x = g.op("Conv", g.input("x", 3, 9), g.random(8, 3, 3), g.random(8))
    g.output(g.op("Conv", x, g.random(4, 8, 3)))


@found(["Gemm_2"])
def gemms(g):
    x = g.op("Gemm", g.input("x", 5), g.random(7, 5), g.random(7), transB=1, alpha=0.5, beta=2.0)
    g.output(g.op("Gemm", g.op("Relu", x), g.random(7, 3), g.random(1, 3)))


@found(["Gemm_1"])
def gemm_with_a_bias_for_all(g):
    x = g.op("Gemm", g.input("x", 5), g.random(5, 7), g.random())
    g.output(g.op("Gemm", x, g.random(7, 3)))


@found(["MatMul_3"])
def matrices_with_a_bias_between(g):
    x = g.op("Relu", g.op("Add", g.random(7), dense(g, g.input("x", 4, 5), 5, 7)))
    g.output(dense(g, x, 7, 3))


@found(["MatMul_2"])
def a_scalar_added_between(g):
    x = g.op("Sub", g.constant(np.float32(0.5)), dense(g, g.input("x", 4, 5), 5, 7))
    g.output(dense(g, x, 7, 3))


@found(["Gemm_3"])
def flatten_before_gemm(g):
    x = g.op("MaxPool", g.conv(g.input("x", 3, 6, 6), 3, 4), kernel_shape=[2, 2], strides=[2, 2])
    g.output(g.op("Gemm", g.op("Flatten", x), g.random(36, 3)))


@found(["Gemm_4"])
def pooled_features(g):
    x = g.op("GlobalAveragePool", g.op("Relu", g.conv(g.input("x", 3, 6, 6), 3, 8)))
    g.output(g.op("Gemm", g.op("Flatten", x), g.random(8, 3)))


@found(["MatMul_2"])
def mean_over_positions(g):
    x = g.op("ReduceMean", g.conv(g.input("x", 3, 6, 6), 3, 8), axes=[2, 3], keepdims=0)
    g.output(dense(g, x, 8, 3))


@found(["MatMul_2"])
def mean_over_given_positions(g):
    x = g.op("ReduceMean", g.conv(g.input("x", 3, 6, 6), 3, 8), ints(g, -1, 2), keepdims=0)
    g.output(dense(g, x, 8, 3))


@found(["Conv_2"])
def average_pooling(g):
    x = g.op("AveragePool", g.conv(g.input("x", 3, 6, 6), 3, 8), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    g.output(g.conv(x, 8, 4))


@found(["Conv_2"])
def zero_padding(g):
    x = g.op("Pad", g.conv(g.input("x", 3, 6, 6), 3, 8), ints(g, 0, 0, 1, 0, 0, 0, 0, 2))
    g.output(g.conv(x, 8, 4))


@found(["Conv_2"])
def reflecting_padding(g):
    x = g.op("Pad", g.conv(g.input("x", 3, 6, 6), 3, 8), ints(g, 0, 0, 1, 0, 0, 0, 0, 2), mode="reflect")
    g.output(g.conv(x, 8, 4))


@found(["Conv_3"])
def resizes(g):
    x = g.conv(g.input("x", 3, 6, 6), 3, 8)
    x = g.op("Resize", x, "", floats(g, 1, 1, 2, 2), mode="nearest")
    x = g.op("Resize", x, "", floats(g, 1, 1, 0.5, 1.5), mode="linear")
    g.output(g.conv(x, 8, 4))


@found(["Conv_2", "Conv_3"])
def two_readers(g):
    x = g.op("Relu", g.conv(g.input("x", 3, 6, 6), 3, 8))
    g.output(g.conv(x, 8, 4), g.conv(x, 8, 2, 1))


@found(["Conv_2", "Conv_5"])
def residual_ties_its_terms(g):
    x = g.op("Relu", g.conv(g.input("x", 3, 6, 6), 3, 8))
    y = g.conv(x, 8, 8)
    g.output(g.conv(g.op("Relu", g.op("Add", x, y)), 8, 4))


@found(["Conv_2", "Conv_5", "Conv_7"], ["Conv_3"])
def two_residual_blocks(g):
    x = g.op("Relu", g.conv(g.input("x", 3, 6, 6), 3, 8))
    x = g.op("Add", g.conv(g.conv(x, 8, 5), 5, 8), x)
    x = g.op("Sum", x, g.conv(x, 8, 8), x)
    g.output(g.conv(x, 8, 4))


@found(["Conv_3"])
def a_sum_of_two_layers(g):
    x = g.input("x", 3, 6, 6)
    g.output(g.conv(g.op("Sub", g.conv(x, 3, 8), g.conv(x, 3, 8, 1)), 8, 4))


@found(["Conv_4"])
def a_broadcast_term(g):
    x = g.input("x", 3, 6, 6)
    y = g.conv(g.op("GlobalAveragePool", x), 3, 8, 1)
    g.output(g.conv(g.op("Add", y, g.conv(x, 3, 8)), 8, 4))


@found(["Conv_3", "Conv_7"], ["Conv_4"])
def squeeze_and_excite(g):
    x = g.op("Relu", g.conv(g.input("x", 3, 6, 6), 3, 8))
    gate = g.conv(g.conv(g.op("GlobalAveragePool", x), 8, 4, 1), 4, 8, 1)
    g.output(g.conv(g.op("Mul", x, g.op("Sigmoid", gate)), 8, 4))


@found(["MatMul_4"])
def gated_units(g):
    x = g.input("x", 4, 5)
    gate = g.op("Sigmoid", dense(g, x, 5, 7))
    g.output(dense(g, g.op("Mul", gate, dense(g, x, 5, 7)), 7, 3))


@found(["Conv_4"], ["Conv_4"])
def concatenation(g):
    x = g.input("x", 3, 6, 6)
    joined = g.op("Concat", g.conv(x, 3, 4), g.op("Relu", g.conv(x, 3, 6)), axis=1)
    g.output(g.op("Conv", joined, g.random(5, 10, 1, 1), out="y"))


@found(["Conv_2", "Conv_4"], ["Conv_4"])
def dense_block(g):
    x = g.op("Relu", g.conv(g.input("x", 3, 6, 6), 3, 4))
    y = g.conv(x, 4, 6)
    g.output(g.conv(g.op("Concat", x, y, axis=1), 10, 3))


@found(["Conv_2", "Conv_3"])
def split_channels(g):
    a, b = g.ops("Split", g.conv(g.input("x", 3, 6, 6), 3, 8), ints(g, 3, 5), outs=["a", "b"], axis=1)
    g.output(g.conv(a, 3, 4), g.conv(b, 5, 2))


@found(["Conv_2"])
def sliced_channels(g):
    x = g.conv(g.input("x", 3, 6, 6), 3, 8)
    x = g.op("Slice", x, ints(g, 7, 1), ints(g, -(2**62), 5), ints(g, 1, 2), ints(g, -2, 1))
    g.output(g.conv(x, 4, 4))


@found(["Conv_4"], ["Conv_5"])
def channel_shuffle(g):
    x = g.conv(g.input("x", 3, 4, 4), 3, 8)
    x = g.op("Transpose", g.op("Reshape", x, ints(g, -1, 2, 4, 4, 4)), perm=[0, 2, 1, 3, 4])
    x = g.op("Reshape", x, ints(g, -1, 8, 4, 4))
    g.output(g.conv(g.conv(x, 8, 8, group=4), 8, 3, 1))


@found(["MatMul_3"])
def channels_last(g):
    x = g.op("Transpose", g.conv(g.input("x", 3, 4, 4), 3, 8), perm=[0, 2, 3, 1])
    g.output(dense(g, g.op("Reshape", x, ints(g, 0, -1, 8)), 8, 3))


@found(["MatMul_2"])
def one_token(g):
    x = g.op("Gather", dense(g, g.input("x", 4, 5), 5, 7), g.constant(np.int64(0)), axis=1)
    g.output(dense(g, x, 7, 3))


@found(["MatMul_1", "MatMul_2"])
def normalization(g):
    x = g.op("LayerNormalization", g.input("x", 4, 6), g.random(6), g.random(6), axis=-1)
    g.output(dense(g, x, 6, 3), dense(g, x, 6, 2))


@found(["MatMul_3"])
def decomposed_normalization(g):
    x = g.op("Softmax", g.input("x", 4, 6))
    x = g.op("Add", g.op("Mul", x, g.random(6)), g.random(6))
    g.output(dense(g, x, 6, 3))


@found(["MatMul_14"])
def attention_values(g):
    x = g.input("x", 5, 6)
    q, k, v = (g.op("Reshape", dense(g, x, 6, 8), ints(g, 0, 0, 2, 4)) for _ in range(3))
    heads = [g.op("Transpose", t, perm=p) for t, p in ((q, [0, 2, 1, 3]), (k, [0, 2, 3, 1]), (v, [0, 2, 1, 3]))]
    weights = g.op("Softmax", g.op("MatMul", heads[0], heads[1]))
    mixed = g.op("Transpose", g.op("MatMul", weights, heads[2]), perm=[0, 2, 1, 3])
    g.output(g.op("MatMul", g.op("Reshape", mixed, ints(g, 0, 0, 8)), g.random(8, 6), out="y"))


@refused("is an output of the model")
def output_in_between(g):
    x = g.conv(g.input("x", 3, 6, 6), 3, 8)
    g.output(x, g.op("Conv", x, g.random(2, 8, 1, 1)))


@refused("(Sigmoid) reads it")
def sigmoid_between(g):
    g.output(g.conv(g.op("Sigmoid", g.conv(g.input("x", 3, 6, 6), 3, 8)), 8, 4))


@refused("(Softmax) computes it")
def sum_with_a_bounded_term(g):
    x = g.input("x", 8, 6, 6)
    g.output(g.conv(g.op("Add", g.conv(x, 8, 8), g.op("Softmax", x)), 8, 4))


@refused("is an input of the model")
def sum_with_the_input(g):
    x = g.input("x", 8, 6, 6)
    g.output(g.conv(g.op("Add", g.conv(x, 8, 8), x), 8, 4))


@refused("multiplies the channels with themselves")
def square(g):
    x = g.conv(g.input("x", 3, 6, 6), 3, 8)
    g.output(g.conv(g.op("Mul", x, g.op("Relu", x)), 8, 4))


@refused("clips at -1")
def symmetric_clip(g):
    x = g.op("Clip", g.conv(g.input("x", 3, 6, 6), 3, 8), g.constant(np.float32(-1)), g.constant(np.float32(1)))
    g.output(g.conv(x, 8, 4))


@refused("is shared, and a copy would make the model larger")
def shared_weight(g):
    w = g.random(8, 8, 3, 3)
    x = g.op("Conv", g.input("x", 8, 6, 6), w, pads=[1] * 4)
    g.output(g.op("Conv", x, w, pads=[1] * 4))


@refused("pads with a number that is not zero")
def padding_with_ones(g):
    x = g.op("Pad", g.conv(g.input("x", 3, 6, 6), 3, 8), ints(g, 0, 0, 1, 0, 0, 0, 0, 2), floats(g, 1.0))
    g.output(g.conv(x, 8, 4))


@refused("adds channels")
def padded_channels(g):
    x = g.op("Pad", g.conv(g.input("x", 3, 6, 6), 3, 8), ints(g, 0, 1, 0, 0, 0, 1, 0, 0))
    g.output(g.conv(x, 10, 4))


@refused("holds NaN or Inf")
def infinite_weight(g):
    x = g.op("Conv", g.input("x", 3, 6, 6), g.constant(np.full((8, 3, 1, 1), np.inf, np.float32)))
    g.output(g.conv(x, 8, 4))


@refused("different channels meet")
def swapped_channels_added(g):
    x = g.conv(g.input("x", 3, 6, 6), 3, 8)
    y = g.op("Slice", x, ints(g, 7), ints(g, -(2**62)), ints(g, 1), ints(g, -1))
    g.output(g.conv(g.op("Add", x, y), 8, 4))


@refused("sums over channels with a computed matrix")
def attention_keys(g):
    x = g.input("x", 5, 6)
    keys = g.op("Transpose", dense(g, x, 6, 4), perm=[0, 2, 1])
    g.output(g.op("MatMul", g.op("MatMul", g.op("Sigmoid", x), g.random(6, 4)), keys))


@refused("is not stored as float32")
def half_precision(g):
    x = g.op("Cast", g.input("x", 4), to=TensorProto.FLOAT16)
    x = g.op("MatMul", x, g.constant(np.ones((4, 5), np.float16)))
    g.output(g.op("Cast", g.op("MatMul", x, g.constant(np.ones((5, 2), np.float16))), to=TensorProto.FLOAT))


@refused("the body of")
def read_by_a_body(g):
    x = g.conv(g.input("x", 3, 6, 6), 3, 8)
    value = onnx.helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    body = onnx.helper.make_graph([onnx.helper.make_node("Neg", [x], ["inner"])], "body", [], [value])
    other = onnx.helper.make_graph(
        [onnx.helper.make_node("Abs", [x], ["inner2"])],
        "other",
        [],
        [onnx.helper.make_tensor_value_info("inner2", TensorProto.FLOAT, None)],
    )
    chosen = g.op("If", g.constant(np.array(True)), then_branch=body, else_branch=other)
    g.output(g.conv(chosen, 8, 4))


@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize("name", FOUND)
def test_scaling_a_group_keeps_the_function(name, opset):
    model = model_of(FOUND[name][0], opset)
    groups, _ = find_groups(Network(model), lambda node: True)
    feeds = feeds_for(model, 2)
    before = exact_outputs(model, feeds)
    rng = np.random.default_rng(5)
    payload = EqualizePayload(scales={g.anchor: 2.0 ** rng.integers(-4, 5, g.channels) for g in groups})
    scaled = apply_scales(model, payload)
    onnx.checker.check_model(scaled, full_check=True)
    assert model_bytes(scaled) != model_bytes(model)
    for old, new in zip(before, exact_outputs(scaled, feeds), strict=True):
        np.testing.assert_array_equal(new, old)
    payload = EqualizePayload(scales={g.anchor: np.exp(rng.normal(size=g.channels)) for g in groups})
    for old, new in zip(before, exact_outputs(apply_scales(model, payload), feeds), strict=True):
        assert np.abs(new - old).max() <= 1e-5 * np.abs(old).max()


@pytest.mark.parametrize("name", FOUND)
def test_groups_are_found(name):
    build, readers = FOUND[name]
    groups, _ = find_groups(Network(model_of(build)), lambda node: True)
    assert [[reader.node for reader in group.readers] for group in groups] == readers


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_have_a_reason(name):
    build, reason = REFUSED[name]
    model = model_of(build)
    groups, skipped = find_groups(Network(model), lambda node: True)
    assert not groups
    assert any(reason in entry.reason for entry in skipped), skipped


def test_scaled_tensors_are_divided_by_their_factors():
    model = model_of(dense_block)
    (group, _), _ = find_groups(Network(model), lambda node: True)
    factors = np.array([0.5, 2.0, 4.0, 0.25])
    scaled = apply_scales(model, EqualizePayload(scales={group.anchor: factors}))
    feeds = feeds_for(model, 2)
    for name, layout in group.tensors.items():
        for graph in (model, scaled):
            del graph.graph.output[:]
            graph.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        (before,), (after,) = exact_outputs(model, feeds), exact_outputs(scaled, feeds)
        np.testing.assert_array_equal(after, before / np.append(factors, 1.0).astype(np.float32)[layout.ids])


def test_names_stay_and_shared_vectors_are_copied():
    g = FloatGraph()
    bias = g.random(8)
    x = g.op("Conv", g.input("x", 3, 6, 6), g.constant(np.ones((8, 3, 1, 1), np.float32), "w0"), bias)
    y = g.op("Conv", x, g.constant(np.ones((8, 8, 1, 1), np.float32), "w1"), bias)
    g.output(y)
    model = normalize(g.model())
    scaled = apply_scales(model, EqualizePayload(scales={"t0": np.full(8, 2.0)}))
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in scaled.graph.initializer}
    original = onnx.numpy_helper.to_array(next(w for w in model.graph.initializer if w.name == bias))
    assert set(weights) == {"w0", "w1", bias, f"{bias}_equalized"}
    np.testing.assert_array_equal(weights[bias], original)
    np.testing.assert_array_equal(weights[f"{bias}_equalized"], original / 2)
    np.testing.assert_array_equal(weights["w0"], 0.5)
    np.testing.assert_array_equal(weights["w1"], 2.0)


@pytest.mark.parametrize(
    ("anchor", "factors", "words"),
    [
        ("nothing", np.ones(8), "no layer computes"),
        ("t1", np.ones(4), "is an output of the model"),
        ("t0", np.ones(7), "not 8 finite positive numbers"),
        ("t0", np.zeros(8), "not 8 finite positive numbers"),
        ("t0", np.full(8, np.nan), "not 8 finite positive numbers"),
        ("t0", np.full(8, 1e-80), "infinite"),
    ],
)
def test_a_payload_that_does_not_fit_is_refused(anchor, factors, words):
    model = model_of(two_convolutions)
    with pytest.raises(RecipeError, match=words):
        apply_scales(model, EqualizePayload(scales={anchor: factors}))

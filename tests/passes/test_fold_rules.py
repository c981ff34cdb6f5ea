"""The rarer folding rules: what each removes, what it must leave, and that the function stays."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from autocompress.graph.model import load_model, model_bytes
from autocompress.graph.normalize import normalize
from autocompress.passes.fold import fold

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph


def execute(model, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def folded(g, *outputs, batch=2, opset=17):
    """Operators after folding, and the model, once it computes the same and is reproducible."""
    g.output(*outputs)
    canonical = normalize(load_model(g.raw(opset)))
    before = model_bytes(canonical)
    result = fold(canonical)
    assert model_bytes(canonical) == before
    assert model_bytes(fold(result)) == model_bytes(result)
    onnx.checker.check_model(result, full_check=True)
    rng = np.random.default_rng(5)
    feeds = {
        given.name: rng.standard_normal([d.dim_value or batch for d in given.type.tensor_type.shape.dim]).astype(
            np.float32
        )
        for given in canonical.graph.input
    }
    for old, new in zip(execute(canonical, feeds), execute(result, feeds), strict=True):
        assert new.shape == old.shape
        assert np.abs(new - old).max(initial=0) <= 1e-5 * max(1.0, np.abs(old).max(initial=0))
    return [node.op_type for node in result.graph.node], result


def branch(g, x, kind, channels, **attributes):
    """One branch of a block, of ``channels`` to as many."""
    if kind == "identity":
        return x
    if kind in ("1x1", "3x3", "5x5", "1x3"):
        height, width = (int(size) for size in kind.split("x"))
        pads = [height // 2, width // 2] * 2
        per_group = channels // attributes.get("group", 1)
        weight = g.random(channels, per_group, height, width)
        x = g.op("Conv", x, weight, *([g.random(channels)] if kind == "1x1" else []), pads=pads, **attributes)
    variance = g.constant(g.rng.uniform(0.5, 2, channels).astype(np.float32))
    return g.op("BatchNormalization", x, g.random(channels), g.random(channels), g.random(channels), variance)


@pytest.mark.parametrize("attributes", [{}, {"group": 4}, {"group": 2}])
def test_branches_with_normalization_become_one(attributes):
    g = LayerGraph()
    x = g.op("Relu", g.input("x", 4, 7, 6))
    left = g.op("Add", branch(g, x, "3x3", 4, **attributes), branch(g, x, "1x1", 4, **attributes))
    y = g.op("Relu", g.op("Add", left, branch(g, x, "norm", 4)))
    ops, model = folded(g, y)
    assert ops == ["Relu", "Conv", "Relu"]
    assert model.graph.node[1].name == "Conv_1"


@settings(max_examples=25, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(["1x1", "3x3", "5x5", "1x3", "norm", "identity"]), min_size=2, max_size=5),
    group=st.sampled_from([1, 2]),
    stride=st.sampled_from([1, 1, 2]),
    seed=st.integers(0, 9),
)
def test_random_branches(kinds, group, stride, seed):
    g = LayerGraph(seed)
    x = g.op("Tanh", g.input("x", 4, 8, 9))
    attributes = {"group": group, "strides": [stride] * 2}
    if stride > 1:
        kinds = [kind for kind in kinds if "x" in kind] or ["3x3"]
    total = branch(g, x, kinds[0], 4, **attributes)
    for kind in kinds[1:]:
        total = g.op("Add", total, branch(g, x, kind, 4, **attributes))
    convolutions = sum("x" in kind for kind in kinds)
    ops, _ = folded(g, g.op("Relu", total))
    assert ops.count("Conv") == min(convolutions, 1)
    if convolutions > 1:
        assert ops == ["Tanh", "Conv", "Relu"]


def test_branches_that_must_stay():
    def block(second, **attributes):
        g = LayerGraph()
        x = g.op("Relu", g.input("x", 4, 8, 8))
        y = g.op("Conv", x, g.random(4, 4, 3, 3), pads=[1] * 4)
        return folded(g, g.op("Add", y, second(g, x, y)))[0]

    # Another input, a shortcut around one convolution, a kernel that sees other positions, another reader.
    assert block(lambda g, x, y: g.op("Conv", g.op("Tanh", x), g.random(4, 4, 1, 1))).count("Conv") == 2
    assert block(lambda g, x, y: x) == ["Relu", "Conv", "Add"]
    shifted = block(lambda g, x, y: g.op("Conv", x, g.random(4, 4, 3, 3), pads=[2, 1, 0, 1]))
    assert shifted.count("Conv") == 2
    dilated = block(lambda g, x, y: g.op("Conv", x, g.random(4, 4, 3, 3), pads=[2] * 4, dilations=[2, 2]))
    assert dilated.count("Conv") == 2
    assert block(lambda g, x, y: g.op("Relu", y)).count("Add") == 1
    g = LayerGraph()
    x = g.op("Relu", g.input("x", 4, 8, 8))
    both = [g.op("Conv", x, g.random(4, 4, 1, 1)) for _ in range(2)]
    assert folded(g, g.op("Add", *both), both[0])[0].count("Conv") == 2


def test_what_is_left_of_a_sum_is_still_added():
    g = LayerGraph()
    x = g.op("Relu", g.input("x", 4, 8, 8))
    other = g.op("Sigmoid", x)
    total = g.op("Sum", branch(g, x, "3x3", 4), other, branch(g, x, "1x1", 4), x)
    ops, _ = folded(g, total)
    assert sorted(ops) == ["Add", "Conv", "Relu", "Sigmoid"]


def test_branches_with_a_shared_weight_are_copied():
    g = LayerGraph()
    x = g.op("Relu", g.input("x", 4, 8, 8))
    weight = g.random(4, 4, 3, 3)
    total = g.op("Add", g.op("Conv", x, weight, pads=[1] * 4), g.op("Conv", x, g.random(4, 4, 1, 1)))
    ops, model = folded(g, g.op("Conv", g.op("Relu", total), weight))
    assert ops.count("Conv") == 2
    stored = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    np.testing.assert_array_equal(stored[weight], numpy_helper.to_array(g.weights[int(weight[1:])]))


def test_layers_without_anything_between():
    def pair(first, second):
        g = LayerGraph()
        return folded(g, second(g, first(g, g.input("x", 6, 8, 8))))[0]

    wide = lambda g, x: g.op("Conv", x, g.random(12, 6, 1, 1), g.random(12))  # noqa: E731
    plain = lambda g, x: g.op("Conv", x, g.random(12, 6, 1, 1))  # noqa: E731
    strided = lambda g, x: g.op("Conv", x, g.random(12, 6, 3, 3), g.random(12), strides=[2, 2], pads=[1] * 4)  # noqa: E731
    narrow = lambda g, x: g.op("Conv", x, g.random(4, 12, 1, 1), g.random(4))  # noqa: E731
    padded = lambda g, x: g.op("Conv", x, g.random(4, 12, 3, 3), pads=[1] * 4, kernel_shape=[3, 3])  # noqa: E731
    unpadded = lambda g, x: g.op("Conv", x, g.random(4, 12, 3, 3), g.random(4))  # noqa: E731
    assert pair(wide, narrow) == ["Conv"]
    assert pair(strided, narrow) == ["Conv"]
    assert pair(plain, padded) == ["Conv"]
    assert pair(wide, unpadded) == ["Conv"]
    assert pair(wide, padded) == ["Conv", "Conv"]
    assert pair(strided, padded) == ["Conv", "Conv"]
    bottleneck = lambda g, x: g.op("Conv", x, g.random(2, 6, 1, 1))  # noqa: E731
    assert pair(bottleneck, lambda g, x: g.op("Conv", x, g.random(9, 2, 1, 1))) == ["Conv", "Conv"]
    assert pair(wide, lambda g, x: g.op("Conv", x, g.random(12, 1, 1, 1), group=12)) == ["Conv", "Conv"]


@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.5, "beta": 2.0}, {"transB": 1}])
def test_matrices_without_anything_between(attributes):
    g = LayerGraph()
    x = g.op("Gemm", g.input("x", 6), g.random(6, 9), g.random(9), alpha=2.0, beta=0.5)
    weight = g.random(5, 9) if attributes.get("transB") else g.random(9, 5)
    assert folded(g, g.op("Gemm", x, weight, g.random(5), **attributes))[0] == ["Gemm"]
    g = LayerGraph()
    x = g.op("MatMul", g.input("x", 3, 6), g.random(6, 9))
    assert folded(g, g.op("MatMul", x, g.random(9, 5)))[0] == ["MatMul"]
    g = LayerGraph()
    x = g.op("MatMul", g.input("x", 3, 6), g.random(6, 9))
    assert folded(g, g.op("MatMul", x, g.random(9, 5)), x)[0] == ["MatMul", "MatMul"]


def test_constants_after_a_product():
    g = LayerGraph()
    y = g.op("Add", g.op("MatMul", g.input("x", 3, 6), g.random(6, 5)), g.random(5))
    y = g.op("Sub", g.op("Mul", g.random(5), y), g.random(5))
    y = g.op("Div", y, g.constant(np.float32(4)))
    ops, model = folded(g, y)
    assert ops == ["MatMul", "Add"]
    assert sorted(w.name for w in model.graph.initializer) == ["k0", "k1"]


@pytest.mark.parametrize(
    "second",
    [
        lambda g, y: g.op("Mul", y, g.random(3, 1)),
        lambda g, y: g.op("Div", g.random(5), y),
        lambda g, y: g.op("Mul", y, g.constant(np.full(1, 1e38, np.float32) * np.float32(3))),
        lambda g, y: g.op("Mul", y, y),
    ],
)
def test_constants_that_must_stay_after_a_product(second):
    g = LayerGraph()
    y = g.op("MatMul", g.input("x", 3, 6), g.constant(np.full((6, 5), 1e3, np.float32)))
    g.output(second(g, y))
    canonical = normalize(load_model(g.raw()))
    assert [n.op_type for n in fold(canonical).graph.node] == [n.op_type for n in canonical.graph.node]


@pytest.mark.parametrize("operation", ["Mul", "Div"])
def test_multiplication_before_a_layer(operation):
    scale = lambda g, *shape: g.constant(g.rng.uniform(0.5, 2, shape).astype(np.float32))  # noqa: E731
    g = LayerGraph()
    x = g.op(operation, g.input("x", 4, 6, 6), scale(g, 4, 1, 1))
    assert folded(g, g.op("Conv", x, g.random(6, 2, 3, 3), group=2, pads=[1] * 4))[0] == ["Conv"]
    g = LayerGraph()
    x = g.op(operation, g.input("x", 4, 6, 6), scale(g))
    assert folded(g, g.op("ConvTranspose", x, g.random(4, 3, 2, 2), group=2, strides=[2, 2]))[0] == ["ConvTranspose"]
    g = LayerGraph()
    x = g.op(operation, g.input("x", 4), scale(g, 4))
    assert folded(g, g.op("Gemm", x, g.random(6, 4), transB=1))[0] == ["Gemm"]


def test_multiplication_before_a_layer_that_must_stay():
    for scale, sizes in (((6, 1, 1), (1, 6, 6)), ((6, 6), (6, 6, 6)), ((2, 1, 1, 1), (6, 6, 6))):
        g = LayerGraph()
        x = g.op("Mul", g.input("x", *sizes), g.random(*scale))
        assert folded(g, g.op("Conv", x, g.random(5, 6, 3, 3)))[0] == ["Mul", "Conv"]
    g = LayerGraph()
    x = g.op("Mul", g.input("x", 4), g.random(4))
    assert folded(g, g.op("Gemm", x, g.random(4, 6)), g.op("Relu", x))[0][0] == "Mul"


NO_OPS = {
    "slice of all": lambda g, x: g.op("Slice", x, g.constant([0, 0]), g.constant([2**31 - 1, 9]), g.constant([1, 2])),
    "zero": lambda g, x: g.op("Add", g.constant(np.zeros((1, 4, 1, 1), np.float32)), x),
    "minus zero": lambda g, x: g.op("Sub", x, g.constant(np.float32(0))),
    "one": lambda g, x: g.op("Mul", g.constant(np.float32(1)), x),
    "over one": lambda g, x: g.op("Div", x, g.constant(np.ones(6, np.float32))),
    "first power": lambda g, x: g.op("Pow", x, g.constant(np.float32(1))),
    "tile once": lambda g, x: g.op("Tile", x, g.constant([1, 1, 1, 1])),
    "expand to the same": lambda g, x: g.op("Expand", x, g.constant([1, 4, 1, 6])),
    "reshape to the same": lambda g, x: g.op("Reshape", x, g.constant([-1, 4, 5, 6])),
    "reshape by zeros": lambda g, x: g.op("Reshape", x, g.constant([0, 0, 0, -1])),
    "pool of one": lambda g, x: g.op("MaxPool", x, kernel_shape=[1, 1], strides=[1, 1]),
    "relu twice": lambda g, x: g.op("Relu", g.op("Relu", x)),
    "clip by nothing": lambda g, x: g.op("Clip", x),
    "max of one": lambda g, x: g.op("Max", x),
    "pad by nothing": lambda g, x: g.op("Pad", x, g.constant(np.zeros(8, np.int64))),
    "cast to the same": lambda g, x: g.op("Cast", x, to=TensorProto.FLOAT),
    "dropout": lambda g, x: g.op("Dropout", x),
    "transposes and what is between": lambda g, x: g.op(
        "Transpose",
        g.op("Mul", g.op("Tanh", g.op("Transpose", x, perm=[0, 2, 3, 1])), g.constant(np.float32(2))),
        perm=[0, 3, 1, 2],
    ),
}


@pytest.mark.parametrize("case", NO_OPS)
def test_what_does_nothing_goes(case):
    g = LayerGraph()
    y = NO_OPS[case](g, g.op("Sqrt", g.op("Abs", g.input("x", 4, 5, 6))))
    ops, _ = folded(g, g.op("Neg", y))
    expected = {"relu twice": ["Relu"], "transposes and what is between": ["Tanh", "Mul"]}.get(case, [])
    assert ops == ["Abs", "Sqrt", *expected, "Neg"]


SOME_OPS = {
    "slice of a part": lambda g, x: g.op("Slice", x, g.constant([1]), g.constant([9]), g.constant([2])),
    "backwards": lambda g, x: g.op("Slice", x, g.constant([-1]), g.constant([-99]), g.constant([2]), g.constant([-1])),
    "widening zero": lambda g, x: g.op("Add", x, g.constant(np.zeros((1, 1, 1, 1, 1), np.float32))),
    "widening one": lambda g, x: g.op("Mul", g.constant(np.ones((3, 1, 1, 1, 1), np.float32)), x),
    "from zero": lambda g, x: g.op("Sub", g.constant(np.float32(0)), x),
    "one over": lambda g, x: g.op("Div", g.constant(np.float32(1)), x),
    "reshape to another": lambda g, x: g.op("Reshape", x, g.constant([-1, 5, 4, 6])),
    "pool that strides": lambda g, x: g.op("MaxPool", x, kernel_shape=[1, 1], strides=[2, 2]),
    "other transposes": lambda g, x: g.op("Softmax", g.op("Transpose", x, perm=[0, 2, 3, 1]), axis=-1),
}


@pytest.mark.parametrize("case", SOME_OPS)
def test_what_does_something_stays(case):
    g = LayerGraph()
    y = SOME_OPS[case](g, g.op("Sqrt", g.op("Abs", g.input("x", 4, 5, 6))))
    assert len(folded(g, g.op("Neg", y))[0]) > 3


def requantized(scales, zeros, kinds=(np.uint8, np.uint8), with_zero=(True, True)):
    """q -> dequantize -> quantize -> q', after a first quantization of the input."""
    g = LayerGraph()
    constants = [[g.constant(np.float32(s)), g.constant(k(z))] for s, z, k in zip(scales, zeros, kinds, strict=True)]
    chosen = [pair if keep else pair[:1] for pair, keep in zip(constants, with_zero, strict=True)]
    x = g.op("QuantizeLinear", g.input("x", 9), *constants[0])
    x = g.op("QuantizeLinear", g.op("DequantizeLinear", x, *chosen[0]), *chosen[1])
    y = g.op("DequantizeLinear", x, *chosen[1])
    return folded(g, y, batch=200)[0]


def test_quantizing_what_was_just_dequantized():
    pair = ["QuantizeLinear", "DequantizeLinear"]
    assert requantized((0.013, 0.013), (117, 117)) == pair
    assert requantized((0.013, 0.013), (0, 0), with_zero=(True, False)) == pair
    assert requantized((0.013, 0.02), (117, 117)) == pair * 2
    assert requantized((0.013, 0.013), (117, 116)) == pair * 2
    assert requantized((0.013, 0.013), (0, 0), kinds=(np.int8, np.uint8)) == pair * 2


def test_dequantizing_is_exactly_undone():
    """The algebra itself, for all 16-bit integers and awkward scales."""
    q = np.arange(65536, dtype=np.float64)
    for scale in np.float32([1e-20, 0.1, 1 / 3, 0.0078431, 123.456, 1e20]):
        for zero in (0, 1, 32768, 65535):
            real = ((q - zero).astype(np.float32) * scale).astype(np.float32)
            np.testing.assert_array_equal(np.rint(real / scale) + zero, q)


def test_rearranged_weights_are_computed_once():
    """As exporters write the gates of an LSTM: slices of a large weight, put together in another order."""
    g = LayerGraph()
    weight = g.random(4 * 192, 192)
    gates = [
        g.op("Slice", weight, g.constant([start * 192]), g.constant([(start + 1) * 192]), g.constant([0]))
        for start in (0, 3, 1, 2)
    ]
    joined = g.op("Concat", *gates, axis=0)
    ops, model = folded(g, g.op("MatMul", g.input("x", 192), g.op("Transpose", joined, perm=[1, 0])))
    assert ops == ["MatMul"]
    assert sum(len(w.raw_data) for w in model.graph.initializer) == 4 * 4 * 192 * 192


def test_a_tensor_that_is_an_output_is_kept():
    g = LayerGraph()
    x = g.op("Relu", g.input("x", 4, 8, 8))
    inner = g.op("Conv", x, g.random(6, 4, 1, 1))
    y = g.op("Conv", inner, g.random(3, 6, 1, 1))
    scaled = g.op("Mul", y, g.constant(np.float32(2)))
    ops, _ = folded(g, scaled, inner, y)
    assert ops == ["Relu", "Conv", "Conv", "Mul"]


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_operator_sets(opset):
    g = LayerGraph()
    x = g.op("Relu", g.input("x", 4, 8, 8))
    total = g.op("Add", branch(g, x, "3x3", 4), branch(g, x, "1x1", 4))
    y = g.op("Slice", g.op("Add", total, g.constant(np.float32(0))), g.constant([0]), g.constant([99]), g.constant([3]))
    assert folded(g, y, opset=opset)[0] == ["Relu", "Conv"]


def test_shapes_of_helper_tensors_are_not_left_stale():
    g = LayerGraph()
    y = g.op("Transpose", g.op("Tanh", g.op("Transpose", g.input("x", 3, 5), perm=[0, 2, 1])), perm=[0, 2, 1])
    raw = g.raw()
    raw.graph.value_info.append(helper.make_tensor_value_info("t1", TensorProto.FLOAT, ["n", 5, 3]))
    assert [n.op_type for n in folded(g, y)[1].graph.node] == ["Tanh"]

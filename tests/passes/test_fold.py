"""Folding keeps the function: each rule by itself, and all of them together on random graphs."""

from __future__ import annotations

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


class Sketch:
    """A graph under construction: nodes by appending, weights drawn with a fixed seed."""

    def __init__(self, *shape, seed=0):
        self.rng = np.random.default_rng(seed)
        self.shape = shape
        self.nodes = []
        self.weights = {}

    def weight(self, *shape, low=-1.0, high=1.0):
        return self.constant(self.rng.uniform(low, high, size=shape).astype(np.float32))

    def constant(self, values):
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(values)
        return name

    def add(self, op, *inputs, **attributes):
        position = len(self.nodes)
        self.nodes.append(helper.make_node(op, list(inputs), [f"t{position}"], name=f"n{position}", **attributes))
        return f"t{position}"

    def normalization(self, given, channels):
        statistics = (self.weight(channels), self.weight(channels), self.weight(channels))
        return self.add("BatchNormalization", given, *statistics, self.weight(channels, low=0.3, high=2.0))

    def model(self, *outputs):
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *self.shape[1:]])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(values, name) for name, values in self.weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def execute(model, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def folded(sketch, *outputs):
    """The folded model, after checking that it computes the same and is reproducible."""
    model = load_model(sketch.model(*outputs))
    canonical = normalize(model)
    before = canonical.SerializeToString(deterministic=True)
    result = fold(canonical)
    assert canonical.SerializeToString(deterministic=True) == before
    assert model_bytes(fold(canonical)) == model_bytes(result)
    assert model_bytes(fold(result)) == model_bytes(result)
    assert [o.name for o in result.graph.output] == list(outputs)
    feeds = {"x": np.random.default_rng(9).normal(size=sketch.shape).astype(np.float32)}
    for old, new in zip(execute(model, feeds), execute(result, feeds), strict=True):
        assert new.shape == old.shape
        assert np.abs(new - old).max(initial=0) <= 1e-5 * max(1.0, np.abs(old).max(initial=0))
    onnx.checker.check_model(load_model(result))
    return result


def ops(model):
    return [node.op_type for node in model.graph.node]


def weights_of(model):
    return {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}


LAYERS = {
    "Conv": lambda s: (s.add("Conv", "x", s.weight(6, 4, 3, 3)), 6),
    "Conv with bias": lambda s: (s.add("Conv", "x", s.weight(6, 4, 3, 3), s.weight(6)), 6),
    "grouped Conv": lambda s: (s.add("Conv", "x", s.weight(6, 2, 3, 3), s.weight(6), group=2), 6),
    "depthwise Conv": lambda s: (s.add("Conv", "x", s.weight(4, 1, 3, 3), group=4, strides=[2, 2]), 4),
    "ConvTranspose": lambda s: (s.add("ConvTranspose", "x", s.weight(4, 5, 2, 2), s.weight(5), strides=[2, 2]), 5),
    "grouped ConvTranspose": lambda s: (s.add("ConvTranspose", "x", s.weight(4, 3, 2, 2), group=2), 6),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_normalization_and_arithmetic_after_a_layer(layer):
    sketch = Sketch(2, 4, 7, 7)
    y, channels = LAYERS[layer](sketch)
    y = sketch.normalization(y, channels)
    y = sketch.add("Mul", y, sketch.weight(1, channels, 1, 1))
    y = sketch.add("Add", sketch.weight(channels, 1, 1), y)
    y = sketch.add("Sub", y, sketch.weight())
    y = sketch.add("Sub", sketch.weight(1, 1, 1), y)
    y = sketch.add("Div", y, sketch.weight(channels, 1, 1, low=0.5, high=2.0))
    result = folded(sketch, y)
    assert ops(result) == [layer.split()[-1] if "with" not in layer else "Conv"]
    assert result.graph.node[0].name == "n0"
    assert "w0" in weights_of(result)
    assert len(result.graph.initializer) == 2


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [(5,), (1, 5), (1,), (), None])
def test_gemm(transposed, bias):
    sketch = Sketch(3, 4)
    weight = sketch.weight(*((5, 4) if transposed else (4, 5)))
    given = [weight] if bias is None else [weight, sketch.weight(*bias)]
    y = sketch.add("Gemm", "x", *given, transB=transposed, alpha=0.7, beta=0.4)
    y = sketch.normalization(y, 5)
    y = sketch.add("Mul", y, sketch.weight(5))
    assert ops(folded(sketch, y)) == ["Gemm"]


def test_folding_by_hand():
    sketch = Sketch(1, 1, 1, 1)
    y = sketch.add("Conv", "x", sketch.constant(np.full((1, 1, 1, 1), 3.0, np.float32)))
    statistics = [sketch.constant(np.array([v], np.float32)) for v in (2.0, 1.0, 4.0, 0.25)]
    y = sketch.add("BatchNormalization", y, *statistics, epsilon=0.0)
    values = weights_of(folded(sketch, y))
    bias = next(array for name, array in values.items() if name != "w0")
    assert values["w0"].item() == 3.0 * 2.0 / 0.5
    assert bias.item() == 1.0 - 4.0 * 2.0 / 0.5


def test_bias_is_named_after_the_weight():
    sketch = Sketch(1, 4, 5, 5)
    sketch.weights["conv.weight"] = sketch.rng.normal(size=(2, 4, 3, 3)).astype(np.float32)
    y = sketch.normalization(sketch.add("Conv", "x", "conv.weight"), 2)
    assert set(weights_of(folded(sketch, y))) == {"conv.weight", "conv.bias"}


def huge(sketch):
    return sketch.constant(np.float32(1e38))


NOT_FOLDED = {
    "result also an output": lambda s, c: (s.add("Mul", c, s.weight(6, 1, 1)), c),
    "result read twice": lambda s, c: (s.add("Mul", c, s.weight(6, 1, 1)), s.add("Relu", c)),
    "constant over space": lambda s, c: (s.add("Mul", c, s.weight(5, 5)),),
    "constant over the batch": lambda s, c: (s.add("Add", c, s.weight(2, 1, 1, 1)),),
    "higher rank": lambda s, c: (s.add("Add", c, s.weight(1, 1, 6, 1, 1)),),
    "by itself": lambda s, c: (s.add("Mul", c, c),),
    "a quotient by the result": lambda s, c: (s.add("Div", s.weight(), c),),
    "division by zero": lambda s, c: (s.add("Div", c, s.constant(np.zeros(1, np.float32))),),
    "overflow": lambda s, c: (
        s.add("Mul", s.add("Mul", c, s.constant(np.float32(1e38))), s.constant(np.float32(1e38))),
    ),
}


@pytest.mark.parametrize("case", NOT_FOLDED)
def test_what_must_stay(case):
    sketch = Sketch(2, 4, 7, 7)
    y = sketch.add("Conv", "x", sketch.weight(6, 4, 3, 3))
    outputs = NOT_FOLDED[case](sketch, y)
    canonical = normalize(load_model(sketch.model(*outputs)))
    expected = ops(canonical) if case != "overflow" else ["Conv", "Mul"]
    assert ops(fold(canonical)) == expected


def test_normalization_in_training_form_stays():
    sketch = Sketch(2, 4, 5, 5)
    y = sketch.add("Conv", "x", sketch.weight(3, 4, 3, 3))
    statistics = [sketch.weight(3, low=0.5) for _ in range(4)]
    y = sketch.add("BatchNormalization", y, *statistics, training_mode=1)
    assert ops(fold(normalize(load_model(sketch.model(y))))) == ["Conv", "BatchNormalization"]


def test_shared_weights_are_copied():
    sketch = Sketch(2, 4, 6, 6)
    weight, bias = sketch.weight(4, 4, 3, 3), sketch.weight(4)
    first = sketch.normalization(sketch.add("Conv", "x", weight, bias, pads=[1] * 4), 4)
    second = sketch.normalization(sketch.add("Conv", first, weight, bias, pads=[1] * 4), 4)
    result = folded(sketch, second)
    assert ops(result) == ["Conv", "Conv"]
    assert len({node.input[1] for node in result.graph.node}) == 2


def test_a_weight_that_is_an_output_is_kept():
    sketch = Sketch(2, 4, 6, 6)
    weight = sketch.weight(3, 4, 3, 3)
    y = sketch.normalization(sketch.add("Conv", "x", weight), 3)
    result = folded(sketch, y, weight)
    np.testing.assert_array_equal(weights_of(result)[weight], sketch.weights[weight])


def test_bias_added_after_is_the_constant_of_another_layer():
    sketch = Sketch(2, 4, 6, 6)
    shared = sketch.weight(4)
    first = sketch.add("Conv", "x", sketch.weight(4, 4, 1, 1), shared)
    scaled = sketch.add("Mul", first, sketch.weight(4, 1, 1))
    second = sketch.add("Conv", sketch.add("Relu", scaled), sketch.weight(4, 4, 1, 1), shared)
    assert ops(folded(sketch, second)) == ["Conv", "Relu", "Conv"]


PADS = {
    "all": ({}, [0, 0, 1, 2, 0, 0, 3, 0], True),
    "valid": ({"auto_pad": "VALID"}, [0, 0, 1, 1, 0, 0, 1, 1], True),
    "own padding": ({"pads": [1, 0, 2, 1], "strides": [2, 1]}, [0, 0, 1, 2, 0, 0, 3, 0], True),
    "same": ({"auto_pad": "SAME_UPPER"}, [0, 0, 1, 1, 0, 0, 1, 1], False),
    "channels": ({}, [0, 1, 0, 0, 0, 0, 0, 0], False),
    "negative": ({}, [0, 0, -1, 0, 0, 0, 0, 0], False),
}


@pytest.mark.parametrize("case", PADS)
def test_padding_before_a_convolution(case):
    attributes, pads, absorbed = PADS[case]
    sketch = Sketch(1, 3, 7, 8)
    channels = 4 if case == "channels" else 3
    padded = sketch.add("Pad", "x", sketch.constant(np.array(pads)))
    y = sketch.add("Conv", padded, sketch.weight(2, channels, 3, 3), **attributes)
    assert ops(folded(sketch, y)) == (["Conv"] if absorbed else ["Pad", "Conv"])


@pytest.mark.parametrize(("value", "mode"), [(0.5, "constant"), (0.0, "reflect"), (0.0, "edge")])
def test_other_padding_stays(value, mode):
    sketch = Sketch(1, 3, 7, 8)
    amounts = sketch.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    padded = sketch.add("Pad", "x", amounts, sketch.constant(np.float32(value)), mode=mode)
    assert ops(folded(sketch, sketch.add("Conv", padded, sketch.weight(2, 3, 3, 3)))) == ["Pad", "Conv"]


def test_padding_with_another_reader_is_kept_for_it():
    sketch = Sketch(1, 3, 7, 8)
    padded = sketch.add("Pad", "x", sketch.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1])))
    y = sketch.add("Conv", padded, sketch.weight(2, 3, 3, 3))
    result = folded(sketch, y, sketch.add("Relu", padded))
    assert sorted(ops(result)) == ["Conv", "Pad", "Relu"]
    assert next(n for n in result.graph.node if n.op_type == "Conv").input[0] == "x"


def test_chains_of_shapes_and_transposes():
    sketch = Sketch(2, 3, 4, 5)
    y = sketch.add("Transpose", sketch.add("Transpose", "x", perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
    y = sketch.add("Transpose", sketch.add("Transpose", sketch.add("Relu", y), perm=[1, 0, 2, 3]), perm=[3, 1, 0, 2])
    y = sketch.add("Unsqueeze", y, sketch.constant(np.array([0])))
    y = sketch.add("Reshape", sketch.add("Flatten", y, axis=2), sketch.constant(np.array([5, -1])))
    result = folded(sketch, y)
    assert ops(result) == ["Relu", "Transpose", "Reshape"]
    assert list(result.graph.node[1].attribute[0].ints) == [3, 0, 1, 2]


def test_reshape_with_zeros_depends_on_what_is_before():
    sketch = Sketch(2, 3, 4, 5)
    y = sketch.add("Reshape", "x", sketch.constant(np.array([6, -1])))
    y = sketch.add("Reshape", y, sketch.constant(np.array([0, 4, 5])))
    assert ops(folded(sketch, y)) == ["Reshape", "Reshape"]


def test_nothing_is_left_of_a_no_op_but_the_output_name():
    sketch = Sketch(2, 3)
    y = sketch.add("Relu", "x")
    y = sketch.add("Cast", y, to=TensorProto.FLOAT)
    y = sketch.add("Transpose", y, perm=[0, 1])
    result = folded(sketch, y)
    assert ops(result) == ["Relu"]
    assert result.graph.node[0].output[0] == y


def test_shape_arithmetic_with_a_dynamic_batch():
    sketch = Sketch(2, 3, 4, 5)
    shape = sketch.add("Shape", "x")
    channels = sketch.add("Gather", shape, sketch.constant(np.array([1])), axis=0)
    target = sketch.add("Concat", sketch.constant(np.array([-1])), channels, axis=0)
    assert ops(folded(sketch, sketch.add("Reshape", "x", target))) == ["Reshape"]


def test_matmul_and_its_bias_stay_apart():
    sketch = Sketch(2, 4)
    y = sketch.add("Add", sketch.add("MatMul", "x", sketch.weight(4, 5)), sketch.weight(5))
    assert ops(folded(sketch, y)) == ["MatMul", "Add"]


def test_other_float_types_keep_their_type():
    sketch = Sketch(2, 4, 5, 5)
    y = sketch.add("Cast", "x", to=TensorProto.DOUBLE)
    y = sketch.add("Conv", y, sketch.constant(sketch.rng.normal(size=(3, 4, 3, 3))))
    y = sketch.add("Mul", y, sketch.constant(sketch.rng.normal(size=(3, 1, 1))))
    result = fold(normalize(load_model(sketch.model(sketch.add("Cast", y, to=TensorProto.FLOAT)))))
    assert ops(result) == ["Cast", "Conv", "Cast"]
    assert all(w.data_type == TensorProto.DOUBLE for w in result.graph.initializer)


def random_step(draw, sketch, given, channels, rank):
    """Appends one random operator; returns the new tensor and its channels."""
    kind = draw(st.sampled_from(["layer", "normalization", "mul", "add", "sub", "relu", "pad", "swap", "scalar"]))
    spatial = (1,) * (rank - 2)
    if kind == "layer":
        width = draw(st.integers(1, 4))
        if rank == 2:
            return sketch.add("Gemm", given, sketch.weight(channels, width), sketch.weight(width)), width
        if draw(st.booleans()):
            return sketch.add("ConvTranspose", given, sketch.weight(channels, width, 2, 2)), width
        return sketch.add("Conv", given, sketch.weight(width, channels, 3, 3), pads=[1, 1, 1, 1]), width
    if kind == "normalization":
        return sketch.normalization(given, channels), channels
    if kind in ("mul", "add"):
        return sketch.add(kind.capitalize(), given, sketch.weight(channels, *spatial)), channels
    if kind == "sub":
        return sketch.add("Sub", sketch.weight(1, channels, *spatial), given), channels
    if kind == "scalar":
        return sketch.add("Mul", given, sketch.weight()), channels
    if kind == "pad" and rank == 4:
        return sketch.add("Pad", given, sketch.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1]))), channels
    if kind == "swap":
        perm = [1, 0, *range(2, rank)]
        return sketch.add("Transpose", sketch.add("Transpose", given, perm=perm), perm=perm), channels
    return sketch.add("Relu", given), channels


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_graphs(data):
    rank = data.draw(st.sampled_from([2, 4]))
    sketch = Sketch(2, 3, *(5, 4)[: rank - 2], seed=data.draw(st.integers(0, 99)))
    tensors = [("x", 3)]
    for _ in range(data.draw(st.integers(1, 8))):
        # Mostly the newest tensor, so that chains arise; sometimes an older one, so that it has two readers.
        given_tensor, channels = tensors[-1] if data.draw(st.integers(0, 3)) else data.draw(st.sampled_from(tensors))
        tensors.append(random_step(data.draw, sketch, given_tensor, channels, rank))
    others = data.draw(st.lists(st.sampled_from(tensors[1:]), max_size=1))
    outputs = dict.fromkeys(name for name, _ in [*others, tensors[-1]])
    folded(sketch, *outputs)

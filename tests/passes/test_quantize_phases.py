"""Integer convolutions that read the phases of an image: the same integers, the weight as it was, a fast kernel."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from autocompress.graph.model import model_bytes
from autocompress.passes.quantize import QuantizeConfig
from autocompress.passes.sparsify.report import report
from autocompress.recipe.any_ranges import any_ranges
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph


def stem(sizes=(3, 16, 12), outputs=16, window=(3, 3), *, seed=0, **attributes):
    """A float model of one convolution of an image, and another behind it."""
    g = LayerGraph(seed)
    x = g.input("x", *sizes)
    inputs = sizes[0] // attributes.get("group", 1)
    y = g.op("Conv", x, g.random(outputs, inputs, *window), g.random(outputs), **attributes)
    g.output(g.op("Conv", g.op("Relu", y), g.random(16, outputs, 1, 1)))
    return prepare(g.raw(17))


def candidates(model, runtime="onnxruntime", **config):
    """The candidate, and the same before the layout of its layers was chosen."""
    builder = CandidateBuilder(model, runtime, "")
    chosen = QuantizeConfig(**config)
    payload = any_ranges(builder)
    frozen = FrozenRecipe(Recipe(chosen), "", runtime, {"quantize": payload})
    return builder.build(frozen), builder.quantizer.emit(chosen, payload)


def execute(model, feeds):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def image(model, batch=2, seed=1):
    sizes = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    return {"x": np.random.default_rng(seed).uniform(-1, 2, (batch, *sizes)).astype(np.float32)}


def reads_phases(model):
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    strides = {a.name: list(a.ints) for a in conv.attribute}.get("strides", [1, 1])
    return strides == [1, 1] and any(node.op_type == "Transpose" for node in model.graph.node)


@settings(max_examples=20, deadline=None)
@given(
    window=st.sampled_from([(3, 3), (6, 6), (7, 7), (2, 2), (5, 4), (4, 3)]),
    strides=st.sampled_from([(2, 2), (2, 2), (4, 4), (1, 4), (4, 1), (4, 2)]),
    padding=st.one_of(
        st.tuples(*[st.integers(0, 3)] * 4).map(lambda pads: {"pads": list(pads)}),
        st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]).map(lambda mode: {"auto_pad": mode}),
    ),
    channels=st.sampled_from([3, 3, 1, 5]),
    seed=st.integers(0, 9),
)
def test_the_same_integers_come_out(window, strides, padding, channels, seed):
    model = stem((channels, 16, 12), window=window, strides=list(strides), seed=seed, **padding)
    new, plain = candidates(model)
    onnx.checker.check_model(new, full_check=True)
    if padding == {"auto_pad": "VALID"}:  # no zeros in front of the kernel
        filled = [-(-length // stride) * stride for length, stride in zip(window, strides, strict=True)]
        more = channels * np.prod(filled) - -(-channels // 4) * 4 * np.prod(window)
        worth = 16 * more <= 400 and channels * np.prod(strides) % 4 == 0
        assert reads_phases(new) == worth
    feeds = image(new, seed=seed)
    np.testing.assert_array_equal(execute(new, feeds), execute(plain, feeds))


@pytest.mark.parametrize("weight_dtype", ["int8", "int4"])
def test_the_runtime_has_one_integer_kernel_for_it_and_the_weight_is_stored_as_it_was(weight_dtype):
    model = stem(strides=[2, 2], pads=[1] * 4)
    new, plain = candidates(model, weight_dtype=weight_dtype)
    assert reads_phases(new)
    ops = get_runtime("onnxruntime").executed_ops(model_bytes(new), image(new))
    kernels = [op.signature.op_type for op in ops]
    assert kernels.count("QLinearConv") == 2
    assert "Conv" not in kernels
    # Into the order of channels last and, at the end of the model, out of it; rows apart is the third.
    assert kernels.count("Transpose") == 3
    assert [(row.name, row.shape, row.nonzero) for row in report(new)] == [
        (row.name, row.shape, row.nonzero) for row in report(plain)
    ]
    assert model_bytes(candidates(model, weight_dtype=weight_dtype)[0]) == model_bytes(new)


def open_size():
    g = LayerGraph()
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"]))
    y = g.op("Conv", "x", g.random(16, 3, 3, 3), strides=[2, 2])
    g.output(g.op("Relu", y))
    return prepare(g.raw(17))


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (lambda: stem((3, 15, 12), strides=[2, 2]), {}),
        (lambda: stem(strides=[1, 1]), {}),
        (lambda: stem((4, 16, 12), strides=[2, 2]), {}),
        (lambda: stem(strides=[4, 4], window=(1, 1)), {}),
        (lambda: stem(strides=[3, 3]), {}),
        (lambda: stem(strides=[2, 2], dilations=[2, 1]), {}),
        (lambda: stem((6, 16, 12), strides=[2, 2], group=2), {}),
        (lambda: stem(strides=[2, 2], outputs=12), {}),
        (lambda: stem(strides=[2, 2]), {"activation_dtype": "int8"}),
        (lambda: stem(strides=[2, 2]), {"weight_dtype": "uint8"}),
        (lambda: stem(strides=[2, 2]), {"float_ends": "first"}),
        (open_size, {}),
    ],
)
def test_others_keep_their_strides(model, config):
    new, _ = candidates(model(), **config)
    assert not reads_phases(new)


def test_an_image_with_channels_last_and_another_runtime_are_left():
    g = LayerGraph()
    x = g.op("Transpose", g.input("x", 16, 12, 3), perm=[0, 3, 1, 2])
    g.output(g.op("Relu", g.op("Conv", x, g.random(16, 3, 3, 3), strides=[2, 2])))
    convolutions = [node for node in candidates(prepare(g.raw(17)))[0].graph.node if node.op_type == "Conv"]
    assert [list(a.ints) for a in convolutions[0].attribute if a.name == "strides"] == [[2, 2]]
    assert not reads_phases(candidates(stem(strides=[2, 2]), "openvino")[0])

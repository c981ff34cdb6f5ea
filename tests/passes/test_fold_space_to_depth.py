"""Convolutions of space-to-depth: folded where exact, however it is written, and left alone where it is not quite."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from autocompress.graph.model import load_model
from autocompress.graph.normalize import normalize
from autocompress.passes.fold import fold
from autocompress.report.structure import layer_facts, side_by_side

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph

ENDLESS = 2**63 - 1
QUARTERS = ((0, 0), (1, 0), (0, 1), (1, 1))


def execute(model, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def folded(g, y, *others, sizes=None, opset=17):
    """Operators after folding, and the model, once it computes the same."""
    g.output(y, *others)
    original = normalize(load_model(g.raw(opset)))
    result = fold(original)
    onnx.checker.check_model(result, full_check=True)
    rng = np.random.default_rng(3)
    shapes = {"x": [2, *(d.dim_value for d in original.graph.input[0].type.tensor_type.shape.dim[1:])]}
    feeds = {"x": rng.standard_normal(sizes or shapes["x"]).astype(np.float32)}
    for old, new in zip(execute(original, feeds), execute(result, feeds), strict=True):
        assert new.shape == old.shape
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5 * np.abs(old).max())
    return [node.op_type for node in result.graph.node], result


def cut(g, x, starts, steps, axes=(2, 3), ends=None):
    lists = [starts, ends or [ENDLESS] * len(starts), axes, steps]
    return g.op("Slice", x, *(g.constant(np.array(numbers, np.int64)) for numbers in lists))


def focus(g, x, order=QUARTERS, block=(2, 2), **how):
    return g.op("Concat", *(cut(g, x, list(starts), list(block), **how) for starts in order), axis=1)


def convolved(g, y, inputs=12, window=(3, 3), bias=True, **attributes):
    weight = g.random(5, inputs // attributes.get("group", 1), *window)
    return g.op("Conv", y, weight, *([g.random(5)] if bias else []), **attributes)


def test_a_focus_stem_becomes_one_convolution_under_its_own_names():
    g = LayerGraph()
    x = g.input("x", 3, 12, 8)
    rows = [cut(g, x, [start], [2], axes=[2]) for start in (0, 0, 1, 1)]
    quarters = [cut(g, row, [start], [2], axes=[-1]) for row, start in zip(rows, (0, 1, 1, 0), strict=True)]
    y = convolved(g, g.op("Concat", *quarters, axis=-3), pads=[1, 1, 1, 1], strides=[1, 1], kernel_shape=[3, 3])
    names = (g.nodes[-1].name, list(g.nodes[-1].input[1:]))
    ops, model = folded(g, g.op("Relu", y), opset=11)
    assert ops == ["Conv", "Relu"]
    conv = model.graph.node[0]
    assert (conv.name, list(conv.input[1:])) == names
    found = {a.name: helper.get_attribute_value(a) for a in conv.attribute}
    assert found == {"kernel_shape": [6, 6], "strides": [2, 2], "pads": [2] * 4}


@settings(max_examples=25, deadline=None)
@given(
    block=st.sampled_from([(2, 2), (2, 2), (1, 2), (3, 2), (4, 4)]),
    window=st.sampled_from([(3, 3), (1, 1), (2, 4), (5, 1)]),
    strides=st.sampled_from([(1, 1), (2, 1), (2, 3)]),
    padding=st.one_of(
        st.tuples(*[st.integers(0, 2)] * 4).map(lambda pads: {"pads": list(pads)}),
        st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]).map(lambda mode: {"auto_pad": mode}),
    ),
    form=st.sampled_from(["slices", "operator", "reshaped"]),
    data=st.data(),
)
def test_random_space_to_depth(block, window, strides, padding, form, data):
    g = LayerGraph(data.draw(st.integers(0, 9)))
    block = block if form != "operator" else (block[0],) * 2
    x = g.input("x", 3, *(size * each for size, each in zip(block, (7, 5), strict=True)))
    phases = list(itertools.product(*map(range, block)))
    if form == "slices":
        y = focus(g, x, data.draw(st.permutations(phases)), block, axes=data.draw(st.sampled_from([(2, 3), (-2, -1)])))
    elif form == "operator":
        y = g.op("SpaceToDepth", x, blocksize=block[0])
    else:
        shapes = [[-1, 3, 7, block[0], 5, block[1]], [-1, 3 * len(phases), 7, 5]]
        order = data.draw(st.permutations([1, 3, 5]))
        y = g.op("Transpose", g.op("Reshape", x, g.constant(np.array(shapes[0]))), perm=[0, *order, 2, 4])
        y = g.op("Reshape", y, g.constant(np.array(shapes[1])))
    y = convolved(g, y, 3 * len(phases), window, data.draw(st.booleans()), strides=list(strides), **padding)
    ops, model = folded(g, y)
    if len(phases) > 1:
        assert ops == ["Conv"]
        assert list(helper.get_attribute_value(model.graph.node[0].attribute[-2])) == [
            a * b for a, b in zip(strides, block, strict=True)
        ]


def test_sizes_may_be_open_where_slices_go_to_the_end():
    g = LayerGraph()
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"]))
    ops, _ = folded(g, convolved(g, focus(g, "x"), auto_pad="SAME_UPPER", window=(2, 3)), sizes=[1, 3, 6, 8])
    assert ops == ["Conv"]


def test_ends_that_take_every_block():
    for ends in ([8, 6], [-1, 5]):
        g = LayerGraph()
        x = g.input("x", 3, 8, 6)
        pieces = [cut(g, x, [0, 0], [2, 2], ends=ends), *(cut(g, x, list(q), [2, 2]) for q in QUARTERS[1:])]
        assert folded(g, convolved(g, g.op("Concat", *pieces, axis=1)))[0] == ["Conv"]


def test_a_rescaled_image_is_folded_through():
    g = LayerGraph()
    x = g.op("Div", g.input("x", 3, 8, 6), g.constant(np.array([255.0], np.float32)))
    padded = g.op("Pad", x, g.constant(np.array([0, 0, 2, 4, 0, 0, 0, 2], np.int64)))
    ops, model = folded(g, convolved(g, focus(g, padded), pads=[1, 0, 0, 1]))
    assert ops == ["Conv"]
    assert model.graph.node[0].input[0] == "x"


def test_a_weight_that_others_read_is_copied():
    g = LayerGraph()
    y = focus(g, g.input("x", 3, 8, 6))
    weight = g.random(12, 12, 1, 1)
    y = g.op("Conv", g.op("Relu", g.op("Conv", y, weight)), weight)
    ops, model = folded(g, y)
    assert ops == ["Conv", "Relu", "Conv"]
    np.testing.assert_array_equal(
        numpy_helper.to_array(next(w for w in model.graph.initializer if w.name == weight)),
        numpy_helper.to_array(g.weights[int(weight[1:])]),
    )


def test_a_report_sees_no_pruning_in_it():
    g = LayerGraph()
    g.output(convolved(g, focus(g, g.input("x", 3, 8, 6))))
    original = normalize(g.raw())
    (pair,) = side_by_side(layer_facts(original), layer_facts(fold(original)))
    assert pair.done == ()
    assert pair.parameters[0] == pair.parameters[1]


def almost(kind):
    """A graph that is nearly a foldable one, and its outputs."""
    g = LayerGraph()
    x = g.input("x", 3, 7 if kind == "odd" else 8, 6)
    if kind in ("odd", "ends early"):
        pieces = [cut(g, x, list(q), [2, 2], ends=[6, 6]) for q in QUARTERS]
        return g, [convolved(g, g.op("Concat", *pieces, axis=1))]
    if kind == "one phase twice":
        return g, [convolved(g, focus(g, x, (*QUARTERS[:3], QUARTERS[0])))]
    if kind == "a phase missing":
        return g, [convolved(g, focus(g, x, QUARTERS[:3]), 9)]
    if kind == "two images":
        other = g.op("Relu", x)
        pieces = [cut(g, source, list(q), [2, 2]) for q, source in zip(QUARTERS, (x, x, x, other), strict=True)]
        return g, [convolved(g, g.op("Concat", *pieces, axis=1))]
    if kind == "unequal steps":
        pieces = [cut(g, x, [0, 0], [2, 2]), cut(g, x, [0, 0], [1, 1], ends=[4, 3])]
        return g, [convolved(g, g.op("Concat", *pieces, axis=1), 6)]
    if kind == "backwards":
        pieces = [cut(g, x, [-1, column], [-2, 2], ends=[-ENDLESS, ENDLESS]) for column in (0, 1)]
        pieces += [cut(g, x, [-2, column], [-2, 2], ends=[-ENDLESS, ENDLESS]) for column in (0, 1)]
        return g, [convolved(g, g.op("Concat", *pieces, axis=1))]
    if kind == "joined along rows":
        return g, [convolved(g, g.op("Concat", *(cut(g, x, list(q), [2, 2]) for q in QUARTERS), axis=2), 3)]
    if kind == "a phase is read":
        y = convolved(g, focus(g, x))
        return g, [y, g.op("Relu", g.nodes[0].output[0])]
    if kind == "a phase is an output":
        return g, [convolved(g, focus(g, x)), g.nodes[0].output[0]]
    if kind == "read twice":
        y = focus(g, x)
        return g, [convolved(g, y), g.op("Sigmoid", y)]
    if kind == "dilated":
        return g, [convolved(g, focus(g, x), dilations=[2, 1], window=(2, 2))]
    if kind == "grouped":
        g = LayerGraph()
        weight = g.random(4, 3, 3, 3)
        return g, [g.op("Conv", focus(g, g.input("x", 3, 8, 6)), weight, group=4)]
    if kind == "moved elsewhere":
        y = g.op("Reshape", x, g.constant(np.array([-1, 3, 4, 2, 3, 2])))
        y = g.op("Transpose", y, perm=[0, 1, 2, 5, 3, 4])
        return g, [convolved(g, g.op("Reshape", y, g.constant(np.array([-1, 12, 4, 3]))))]
    if kind == "blocks are counts":
        y = g.op("Transpose", g.op("Reshape", x, g.constant(np.array([-1, 3, 2, 4, 2, 3]))), perm=[0, 1, 2, 4, 3, 5])
        return g, [convolved(g, g.op("Reshape", y, g.constant(np.array([-1, 12, 4, 3]))))]
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind",
    [
        *("odd", "ends early", "one phase twice", "a phase missing", "two images", "unequal steps", "backwards"),
        *("joined along rows", "a phase is read", "a phase is an output", "read twice", "dilated", "grouped"),
        *("moved elsewhere", "blocks are counts"),
    ],
)
def test_what_is_nearly_space_to_depth_stays(kind):
    g, outputs = almost(kind)
    ops, _ = folded(g, *outputs)
    assert {"Slice", "Transpose"} & set(ops)
    assert ops.count("Conv") == 1

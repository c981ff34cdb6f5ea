"""A case for every operator that has a rule: channels pass it, or stay for the reason that is named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from autocompress.graph.channels import analyse_channels
from autocompress.graph.channels.rules import RULES
from autocompress.graph.channels.rules.elementwise import NARY, UNARY
from autocompress.graph.inference import declared_shapes, infer_shapes
from autocompress.passes.prune.adjustments import ADJUSTMENTS
from autocompress.passes.prune.kept import KeptAxes
from autocompress.passes.prune.removal import with_zeroed_units, without_units

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph, run, samples
from prune_patterns import PATTERNS, conv, image, ints

PASS, STAY = True, False
NOT_IN_STOCK_RUNTIMES = {"Swish", "RMSNormalization"}
Case = Callable[[LayerGraph, str], tuple[str, int]]
"""Takes a graph and a tensor of 8 channels, in (0, 1); returns a tensor and how many channels it has."""


def scalar(g: LayerGraph, value: float) -> str:
    return g.constant(np.float32(value))


def as_float(g: LayerGraph, x: str) -> str:
    return g.op("Cast", x, to=TensorProto.FLOAT)


def unary(op_type: str) -> Case:
    def build(g: LayerGraph, x: str) -> tuple[str, int]:
        if op_type in ("Acosh", "Log", "Reciprocal"):
            x = g.op("Add", x, scalar(g, 1.5))
        if op_type == "Not":
            return as_float(g, g.op("Not", g.op("Cast", x, to=TensorProto.BOOL))), 8
        if op_type == "BitwiseNot":
            return as_float(g, g.op("BitwiseNot", g.op("Cast", x, to=TensorProto.INT32))), 8
        if op_type in ("IsInf", "IsNaN"):
            return as_float(g, g.op(op_type, x)), 8
        if op_type == "Cast":
            return as_float(g, g.op("Cast", x, to=TensorProto.DOUBLE)), 8
        rest = {"CastLike": [x], "PRelu": [g.random(8, 1, 1)]}.get(op_type, [])
        return g.op(op_type, x, *rest), 8

    return build


def nary(op_type: str) -> Case:
    def build(g: LayerGraph, x: str) -> tuple[str, int]:
        other = g.op("Sigmoid", conv(g, x, 8, 8))
        if op_type == "Where":
            return g.op("Where", g.op("Greater", x, other), x, g.random(8, 1, 1)), 8
        if op_type == "Clip":
            return g.op("Clip", x, scalar(g, 0.2), scalar(g, 0.7)), 8
        if op_type in ("And", "Or", "Xor"):
            bits = [g.op("Greater", y, scalar(g, 0.5)) for y in (x, other)]
            return as_float(g, g.op(op_type, *bits)), 8
        if op_type.startswith("Bit"):
            kind = TensorProto.UINT8
            whole = [g.op("Cast", g.op("Mul", y, scalar(g, 5)), to=kind) for y in (x, other)]
            extra = {"direction": "LEFT"} if op_type == "BitShift" else {}
            return as_float(g, g.op(op_type, *whole, **extra)), 8
        if op_type in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
            return as_float(g, g.op(op_type, x, other)), 8
        return g.op(op_type, x, other, **({"fmod": 1} if op_type == "Mod" else {})), 8

    return build


def simple(op_type: str, *constants: object, width: int = 8, **attributes: object) -> Case:
    def build(g: LayerGraph, x: str) -> tuple[str, int]:
        return g.op(op_type, x, *[g.constant(np.asarray(c)) for c in constants], **attributes), width

    return build


def sequence(op_type: str) -> Case:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op_type]

    def build(g: LayerGraph, x: str) -> tuple[str, int]:
        y = g.op("Transpose", g.op("ReduceMean", x, ints(g, 3), keepdims=0), perm=[2, 0, 1])
        weights = [g.random(1, gates * 5, 8), g.random(1, gates * 5, 5), g.random(1, 2 * gates * 5)]
        y = g.op(op_type, y, *weights, hidden_size=5)
        return g.op("Transpose", y, perm=[2, 3, 0, 1]), 5

    return build


def times_itself(g: LayerGraph, x: str) -> tuple[str, int]:
    return g.op("Einsum", g.op("Sub", x, g.random(8, 1, 1)), g.random(8, 5), equation="nchw,cd->ndhw"), 5


def table(g: LayerGraph, x: str) -> tuple[str, int]:
    number = g.op("ReduceMean", conv(g, x, 8, 2), ints(g, 1, 2, 3), keepdims=0)
    rows = g.op("Gather", g.random(9, 8), g.op("Cast", number, to=TensorProto.INT64))
    return g.op("Mul", x, g.op("Unsqueeze", rows, ints(g, 2, 3))), 8


def as_large_as(g: LayerGraph, x: str) -> tuple[str, int]:
    return g.op("Add", x, g.op("Cast", g.op("ConstantOfShape", g.op("Shape", x)), to=1)), 8


def expanded(g: LayerGraph, x: str) -> tuple[str, int]:
    return g.op("Add", x, g.op("Expand", g.random(1, 1, 6, 6), ints(g, 1, 8, 1, 1))), 8


def counted(g: LayerGraph, x: str) -> tuple[str, int]:
    return g.op("Div", x, as_float(g, g.op("Size", x))), 8


def quantized(op_type: str) -> Case:
    def build(g: LayerGraph, x: str) -> tuple[str, int]:
        scale, zero = g.constant(np.full(8, 0.02, np.float32)), g.constant(np.zeros(8, np.uint8))
        return g.op("DequantizeLinear", g.op("QuantizeLinear", x, scale, zero, axis=1), scale, zero, axis=1), 8

    return build


def grid(g: LayerGraph, x: str) -> tuple[str, int]:
    places = g.op("Expand", g.random(1, 6, 6, 2), ints(g, 2, 1, 1, 1))
    return g.op("GridSample", x, places), 8


def space(g: LayerGraph, x: str) -> tuple[str, int]:
    return g.op("SpaceToDepth", x, blocksize=2), 32


def running_sum(g: LayerGraph, x: str) -> tuple[str, int]:
    return g.op("CumSum", x, g.constant(np.int64(1))), 8


def halves(g: LayerGraph, x: str) -> tuple[str, int]:
    return g.op("Tile", x, ints(g, 1, 2, 1, 1)), 16


def extremes(op_type: str) -> Case:
    return lambda g, x: (as_float(g, g.op(op_type, x, axis=1, keepdims=1)), 1)


EIGHT = np.ones(8, np.float32)
CASES: dict[str, tuple[Case, bool]] = {
    **{op: (unary(op), PASS) for op in UNARY},
    **{op: (nary(op), PASS) for op in NARY},
    **{op: (quantized(op), PASS) for op in ("QuantizeLinear", "DequantizeLinear")},
    **{op: (sequence(op), PASS) for op in ("LSTM", "GRU", "RNN")},
    **{
        op: (simple(op, kernel_shape=[2, 2]), PASS) for op in ("AveragePool", "MaxPool", "LpPool")
    },
    **{op: (simple(op), PASS) for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")},
    **{
        op: (simple(op, np.array([2, 3]), keepdims=1), PASS)
        for op in ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
                   "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")
    },
    **{op: (extremes(op), STAY) for op in ("ArgMax", "ArgMin")},
    **{op: (simple(op, axis=1), STAY) for op in ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization")},
    "BatchNormalization": (simple("BatchNormalization", EIGHT, EIGHT, EIGHT, EIGHT), PASS),
    "InstanceNormalization": (simple("InstanceNormalization", EIGHT, EIGHT), PASS),
    "GroupNormalization": (simple("GroupNormalization", EIGHT, EIGHT, num_groups=4), PASS),
    "LayerNormalization": (simple("LayerNormalization", np.ones((8, 6, 6), np.float32), axis=1), STAY),
    "RMSNormalization": (simple("RMSNormalization", np.ones((8, 6, 6), np.float32), axis=1), STAY),
    "MeanVarianceNormalization": (simple("MeanVarianceNormalization"), STAY),
    "LRN": (simple("LRN", size=3), STAY),
    "CumSum": (running_sum, STAY),
    "Trilu": (simple("Trilu"), PASS),
    "GridSample": (grid, PASS),
    "Einsum": (times_itself, PASS),
    "Gather": (table, PASS),
    "Size": (counted, STAY),
    "ConstantOfShape": (as_large_as, PASS),
    "Expand": (expanded, PASS),
    "SpaceToDepth": (space, PASS),
    "Tile": (halves, PASS),
}  # fmt: skip


def build(op_type: str) -> onnx.ModelProto:
    graph = LayerGraph(3)
    x = graph.op("Sigmoid", conv(graph, image(graph), 3, 8))
    y, width = CASES[op_type][0](graph, x)
    graph.output(conv(graph, y, width, 2, 1))
    model = infer_shapes(graph.raw(24 if op_type in NOT_IN_STOCK_RUNTIMES else 21))
    shape = model.graph.output[0].type.tensor_type.shape
    if not shape.dim:  # inference does not look into operators that are functions
        for size in ("n", 2, "h", "w"):
            shape.dim.add(**({"dim_value": size} if isinstance(size, int) else {"dim_param": size}))
    return model


def test_every_rule_has_a_case() -> None:
    in_patterns = set()
    for make, _ in PATTERNS.values():
        graph = LayerGraph()
        make(graph)
        in_patterns |= {node.op_type for node in graph.nodes}
    assert set(RULES) == set(CASES) | (in_patterns & set(RULES))
    assert set(ADJUSTMENTS) <= set(RULES)


@pytest.mark.parametrize("op_type", sorted(CASES))
def test_channels_pass_or_stay(op_type: str) -> None:
    model = build(op_type)
    analysis = analyse_channels(model)
    first = model.graph.node[0].name
    if CASES[op_type][1] is STAY:
        reasons = [entry.reason for entry in analysis.blocked if first in entry.layers]
        assert len(reasons) == 1 and op_type in reasons[0]
        return
    group = next(group for group in analysis.groups if first in group.layers)
    removed = {group.name: np.array([0, group.size - 1])}
    smaller = without_units(model, analysis, removed)
    onnx.checker.check_model(smaller, full_check=True)
    if op_type in NOT_IN_STOCK_RUNTIMES:
        return
    feeds = samples(model, 2)
    expected = run(with_zeroed_units(model, analysis, removed), feeds)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(run(smaller, feeds), expected, rtol=2e-5, atol=2e-6)
    # What shape inference says of the smaller model is what the channels that were followed say.
    sizes = declared_shapes(infer_shapes(smaller))
    kept = KeptAxes(analysis, removed)
    for name, axes in analysis.followed.axes.items():
        for axis, size in zip(axes, sizes.get(name, ()), strict=False):
            assert axis is None or not isinstance(size, int) or kept.count(axis) == size, name

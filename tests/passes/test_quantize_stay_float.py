"""A layer that is to stay float does so between int8 neighbours, where the runtime would quantize it on its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autocompress.passes.quantize import FP32, QuantizeConfig

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, executed, reference, run, steps, weights_of


def grouped(g: FloatGraph, x: str) -> str:
    return g.op("Relu", g.conv(x, 4, 4, group=2))


def behind_movers(g: FloatGraph, x: str) -> str:
    x = g.op("Transpose", g.op("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4), perm=[0, 1, 3, 2])
    return g.conv(x, 4, 4)


def before_movers(g: FloatGraph, x: str) -> str:
    return g.op("MaxPool", g.op("Relu", g.conv(x, 4, 4)), kernel_shape=[3, 3], pads=[1] * 4)


def transposed_convolution(g: FloatGraph, x: str) -> str:
    return g.op("ConvTranspose", x, g.random(4, 4, 3, 3), g.random(4), kernel_shape=[3, 3], pads=[1] * 4)


def gemm(g: FloatGraph, x: str) -> str:
    x = g.op("Gemm", g.op("Flatten", x), g.random(100, 144), g.random(100), transB=1)
    return g.op("Reshape", g.op("Relu", x), g.constant(np.array([-1, 4, 5, 5], np.int64)))


def gemm_of_columns(g: FloatGraph, x: str) -> str:
    x = g.op("Reshape", x, g.constant(np.array([144, -1], np.int64)))
    x = g.op("Gemm", x, g.random(144, 100), transA=1)
    return g.op("Reshape", x, g.constant(np.array([-1, 4, 5, 5], np.int64)))


MIDDLES: dict[str, tuple[Callable[[FloatGraph, str], str], str]] = {
    "Conv": (lambda g, x: g.conv(x, 4, 4), "Conv"),
    "grouped Conv with Relu": (grouped, "Conv"),
    "Conv behind movers": (behind_movers, "Conv"),
    "Conv before movers": (before_movers, "Conv"),
    "ConvTranspose": (transposed_convolution, "ConvTranspose"),
    "Gemm": (gemm, "Gemm"),
    "Gemm of columns": (gemm_of_columns, "Gemm"),
}


@pytest.mark.parametrize("middle", MIDDLES)
def test_between_int8_neighbours(middle: str) -> None:
    make, op_type = MIDDLES[middle]
    graph = FloatGraph(seed=6)
    x = graph.op("Relu", graph.conv(graph.input("x", 4, 6, 6), 4, 4))
    before = len(graph.nodes)
    x = make(graph, x)
    unit = next(node.name for node in graph.nodes[before:] if node.op_type == op_type)
    graph.output(graph.conv(x, 4, 4))
    study = Study(graph.model())
    float_unit = {unit: FP32} if unit in study.units else {}
    candidate = study.build(QuantizeConfig().with_precisions(float_unit))
    kernels = executed(candidate, study.feeds)
    assert kernels["QLinearConv"] == 2
    assert sum(count for name, count in kernels.items() if name in (op_type, f"Fused{op_type}")) == 1
    output = candidate.graph.output[0].name
    found, expected = run(candidate, study.feeds)[output], reference(candidate, study.feeds)[output]
    assert np.abs(found - expected).max() <= 1.001 * steps(candidate)[output]
    assert np.mean(np.abs(found - expected) > 1e-6) < 0.02


def test_int8_readers_keep_the_common_dequantize() -> None:
    graph = FloatGraph(seed=7)
    x = graph.conv(graph.input("x", 4, 6, 6), 4, 4)
    left, right = graph.conv(x, 4, 4), graph.conv(x, 4, 4)
    graph.output(graph.op("Mul", left, right))
    study = Study(graph.model())
    candidate = study.build(QuantizeConfig().with_precisions({"Conv_1": FP32}))
    reads = {node.name: node.input[0] for node in candidate.graph.node if node.op_type == "Conv"}
    assert reads["Conv_1"] != reads["Conv_2"]
    scales = weights_of(candidate)
    producers = {name: node for node in candidate.graph.node for name in node.output}
    common, per_channel = producers[reads["Conv_2"]], producers[reads["Conv_1"]]
    assert common.input[0] == per_channel.input[0]
    assert scales[per_channel.input[1]].tolist() == [float(scales[common.input[1]])] * 4
    assert scales[per_channel.input[2]].tolist() == [int(scales[common.input[2]])] * 4
    assert executed(candidate, study.feeds)["QLinearConv"] == 2


def test_no_dequantize_is_left_without_a_reader() -> None:
    graph = FloatGraph(seed=8)
    graph.output(graph.conv(graph.conv(graph.input("x", 4, 6, 6), 4, 4), 4, 4))
    candidate = Study(graph.model()).build(QuantizeConfig().with_precisions({"Conv_1": FP32}))
    read = {name for node in candidate.graph.node for name in node.input} | {"t1"}
    assert all(name in read for node in candidate.graph.node for name in node.output)
    assert all(weight.name in read for weight in candidate.graph.initializer)

"""One int8 unit among float neighbours still becomes one integer kernel, whatever stands around it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autocompress.passes.quantize import FP32, INT8, QuantizeConfig

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, executed

Make = Callable[[FloatGraph, str], str]

IMAGES: dict[str, Make] = {
    "Conv": lambda g, x: g.conv(x, 4, 4),
    "DepthwiseConv": lambda g, x: g.conv(x, 4, 4, group=4),
    "Add": lambda g, x: g.op("Add", x, g.input("other", 4, 6, 6)),
    "AddConstant": lambda g, x: g.op("Add", x, g.random(1, 4, 1, 1)),
    "Mul": lambda g, x: g.op("Mul", x, g.input("other", 4, 6, 6)),
    "Sigmoid": lambda g, x: g.op("Sigmoid", x),
    "LeakyRelu": lambda g, x: g.op("LeakyRelu", x, alpha=0.1),
    "Concat": lambda g, x: g.op("Concat", x, g.input("other", 4, 6, 6), axis=1),
    "AveragePool": lambda g, x: g.op("AveragePool", x, kernel_shape=[2, 2]),
    "GlobalAveragePool": lambda g, x: g.op("GlobalAveragePool", x),
    "Softmax": lambda g, x: g.op("Softmax", x, axis=1),
}
ROWS: dict[str, Make] = {
    "MatMul": lambda g, x: g.op("MatMul", x, g.random(12, 12)),
    "MatMulOfActivations": lambda g, x: g.op("MatMul", x, g.input("other", 12, 12)),
}
VECTORS: dict[str, Make] = {
    "MatMul": lambda g, x: g.op("MatMul", x, g.random(12, 12)),
    "Gemm": lambda g, x: g.op("Gemm", x, g.random(12, 12), g.random(12), transB=1),
}
AFTER: dict[str, Make] = {
    "output": lambda g, x: x,
    "Relu": lambda g, x: g.op("Relu", x),
    "Relu and on": lambda g, x: g.op("Exp", g.op("Relu", x)),
    "Clip": lambda g, x: g.op("Clip", x, g.constant(np.float32(0)), g.constant(np.float32(0.4))),
    "Clip below zero": lambda g, x: g.op("Clip", x, g.constant(np.float32(-1)), g.constant(np.float32(1))),
    "Add": lambda g, x: g.op("Add", x, g.constant(np.float32(0.7))),
    "Add and Relu": lambda g, x: g.op("Relu", g.op("Add", x, g.random(1))),
    "swish": lambda g, x: g.op("Mul", x, g.op("Sigmoid", x)),
    "HardSwish": lambda g, x: g.op("HardSwish", x),
    "ReduceMean": lambda g, x: g.op("ReduceMean", x, axes=[1]),
}
PRODUCT_AFTER: dict[str, Make] = {
    **AFTER,
    "bias": lambda g, x: g.op("Add", x, g.random(12)),
    "bias and Relu": lambda g, x: g.op("Exp", g.op("Relu", g.op("Add", g.random(12), x))),
}
KERNELS = {"MatMulOfActivations": "MatMul", "AddConstant": "Add", "DepthwiseConv": "Conv"}


def kernels_of(make: Make, sizes: tuple[int, ...], after: Make) -> dict[str, int]:
    graph = FloatGraph(seed=4)
    result = make(graph, graph.op("Neg", graph.input("x", *sizes)))
    unit = graph.nodes[-1].name
    graph.output(after(graph, result))
    study = Study(graph.model())
    assert unit in study.units
    candidate = study.build(QuantizeConfig(precision=FP32).with_precisions({unit: INT8}))
    return executed(candidate, study.feeds)


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("unit", IMAGES)
def test_on_images(unit: str, after: str) -> None:
    found = kernels_of(IMAGES[unit], (4, 6, 6), AFTER[after])
    assert found[f"QLinear{KERNELS.get(unit, unit)}"] == 1


@pytest.mark.parametrize("after", PRODUCT_AFTER)
@pytest.mark.parametrize("unit", ROWS)
def test_on_rows(unit: str, after: str) -> None:
    found = kernels_of(ROWS[unit], (6, 12), PRODUCT_AFTER[after])
    assert found["QLinearMatMul"] + found["MatMulIntegerToFloat"] == 1
    assert found["MatMul"] == 0


@pytest.mark.parametrize("after", PRODUCT_AFTER)
@pytest.mark.parametrize("unit", VECTORS)
def test_on_vectors(unit: str, after: str) -> None:
    found = kernels_of(VECTORS[unit], (12,), PRODUCT_AFTER[after])
    assert found["QLinearMatMul"] + found["MatMulIntegerToFloat"] + found["QGemm"] == 1
    assert not {"MatMul", "Gemm", "FusedMatMul", "FusedGemm"} & set(+found)

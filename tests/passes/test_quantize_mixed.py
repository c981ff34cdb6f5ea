"""Random graphs under random assignments of precisions."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocompress.passes.quantize import FP32, INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.recipe.recipe import Recipe

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, executed, reference, run

CHANNELS = 4
MAKES = {
    "conv": lambda g, x, y: g.conv(x, CHANNELS, CHANNELS),
    "conv_relu": lambda g, x, y: g.op("Relu", g.conv(x, CHANNELS, CHANNELS, 1)),
    "depthwise_clip": lambda g, x, y: g.op(
        "Clip", g.conv(x, CHANNELS, CHANNELS, group=CHANNELS), g.constant(np.float32(0)), g.constant(np.float32(6))
    ),
    "grouped": lambda g, x, y: g.conv(x, CHANNELS, CHANNELS, group=2, bias=False),
    "add": lambda g, x, y: g.op("Add", x, y),
    "add_relu": lambda g, x, y: g.op("Relu", g.op("Add", x, y)),
    "mul_constant": lambda g, x, y: g.op("Mul", x, g.random(1, CHANNELS, 1, 1)),
    "sigmoid": lambda g, x, y: g.op("Sigmoid", x),
    "concat": lambda g, x, y: g.conv(g.op("Concat", x, y, axis=1), 2 * CHANNELS, CHANNELS, 1),
    "max_pool": lambda g, x, y: g.op("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4),
    "average_pool": lambda g, x, y: g.op("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4),
    "transpose": lambda g, x, y: g.op("Transpose", x, perm=[0, 1, 3, 2]),
    "matmul": lambda g, x, y: g.op("MatMul", x, g.random(5, 5)),
    "matmul_bias": lambda g, x, y: g.op("Add", g.op("MatMul", x, g.random(5, 5)), g.random(5)),
    "tanh": lambda g, x, y: g.op("Tanh", x),
    "split": lambda g, x, y: g.op("Concat", *reversed(split(g, x)), axis=1),
}


def split(g: FloatGraph, x: str) -> list[str]:
    position = len(g.nodes)
    return g.ops("Split", x, outs=[f"t{position}a", f"t{position}b"], axis=1)


PRODUCTS = ("QLinearMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul")
Step = tuple[str, int, int, bool]
STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(MAKES)), st.integers(0, 99), st.integers(0, 99), st.booleans()),
    min_size=2,
    max_size=7,
)


def random_graph(steps: list[Step], seed: int) -> FloatGraph:
    """Each step reads one or two earlier tensors, all of one shape, and may be a graph output."""
    graph = FloatGraph(seed)
    tensors = [graph.input("x", CHANNELS, 5, 5)]
    for make, first, second, visible in steps:
        tensors.append(MAKES[make](graph, tensors[-1 - first % 2 % len(tensors)], tensors[second % len(tensors)]))
        if visible:
            graph.output(tensors[-1])
    flat = graph.op("Flatten", graph.op("GlobalAveragePool", tensors[-1]))
    graph.output(graph.op("Gemm", flat, graph.random(CHANNELS, 3), graph.random(3)))
    return graph


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - expected) ** 2) / max(np.mean(expected**2), 1e-12)))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(steps=STEPS, seed=st.integers(0, 1000), data=st.data())
def test_any_assignment_is_valid_and_close(steps: list[Step], seed: int, data: st.DataObject) -> None:
    study = Study(random_graph(steps, seed).model())
    chosen = {name: data.draw(st.sampled_from(unit.options), label=name) for name, unit in study.units.items()}
    candidate = study.build(QuantizeConfig(activation_range="min_max").with_precisions(chosen))
    found, expected = run(candidate, study.feeds), study.float_outputs()
    simulated = reference(candidate, study.feeds)
    assert list(found) == list(expected)
    for name, values in found.items():
        assert values.shape == expected[name].shape
        assert relative_error(values, expected[name]) < 0.15
        assert relative_error(values, simulated[name]) < 0.02
    kernels = executed(candidate, study.feeds)
    integer = [study.units[name].op_type for name, precision in chosen.items() if precision != FP32]
    assert kernels["QLinearConv"] == integer.count("Conv")
    assert kernels["QGemm"] == integer.count("Gemm")
    assert sum(kernels[name] for name in PRODUCTS) == integer.count("MatMul")
    counted = [node.op_type for node in candidate.graph.node]
    assert ("DynamicQuantizeLinear" in counted) == (INT8_DYNAMIC in chosen.values())
    assert ("QuantizeLinear" in counted) == (INT8 in chosen.values())


@settings(max_examples=8, deadline=None, derandomize=True)
@given(steps=STEPS, seed=st.integers(0, 1000))
def test_all_float_is_the_float_model_exactly(steps: list[Step], seed: int) -> None:
    study = Study(random_graph(steps, seed).model())
    candidate = study.build(QuantizeConfig(precision=FP32))
    assert candidate.SerializeToString(deterministic=True) == study.builder.prepared.SerializeToString(
        deterministic=True
    )
    plain = study.builder.build(study.builder.freeze(Recipe(), None))
    for name, values in run(plain, study.feeds).items():
        np.testing.assert_array_equal(values, run(candidate, study.feeds)[name])


# Without Tanh every operator has an integer kernel or moves data.
INTEGER_STEPS = STEPS.filter(lambda steps: all(make != "tanh" for make, *_ in steps))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(steps=INTEGER_STEPS, seed=st.integers(0, 1000))
def test_all_int8_leaves_no_float_operator(steps: list[Step], seed: int) -> None:
    study = Study(random_graph(steps, seed).model())
    kernels = set(executed(study.build(), study.feeds))
    moving = {"MaxPool", "NhwcMaxPool", "Split", "Flatten", "Reshape"}
    integer = {kernel for kernel in kernels if kernel.startswith(("QLinear", "QGemm"))}
    assert kernels - integer - moving <= {"QuantizeLinear", "DequantizeLinear", "MatMulIntegerToFloat"}


@pytest.mark.parametrize("precision", [INT8, INT8_DYNAMIC])
def test_building_twice_gives_the_same_bytes(precision: str) -> None:
    steps = [("conv_relu", 0, 0, False), ("concat", 0, 1, True), ("matmul", 0, 0, False), ("add", 0, 1, False)]
    study = Study(random_graph(steps, 5).model())
    config = QuantizeConfig(precision=precision)
    first = study.build(config).SerializeToString(deterministic=True)
    study.build(QuantizeConfig(activation_dtype="int8", weight_range="mse"))
    assert study.build(config).SerializeToString(deterministic=True) == first
    assert Study(study.model).build(config).SerializeToString(deterministic=True) == first

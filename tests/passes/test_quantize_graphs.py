"""Every pattern of the graph: valid, runs, fuses as expected, and computes what its integers say."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from autocompress.passes.quantize import QuantizeConfig

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, executed, largest_step, reference, run, steps, weights_of

Build = Callable[[FloatGraph], None]
# Everything in int8: one Quantize per input, one Dequantize per output, and these.
CASES: dict[str, tuple[Build, dict[str, int]]] = {}
# The runtime's Softmax may round to the neighbouring integer, which the product after it then carries on.
INEXACT = {"attention"}


def case(**expected: int) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        CASES[build.__name__] = (build, expected)
        return build

    return register


@case(QLinearConv=2, QuantizeLinear=1, DequantizeLinear=1)
def conv_relu(g: FloatGraph) -> None:
    x = g.op("Relu", g.conv(g.input("x", 8, 9, 9), 8, 8))
    g.output(g.conv(x, 8, 8))


@case(QLinearConv=2, QuantizeLinear=1, DequantizeLinear=1)
def conv_clip(g: FloatGraph) -> None:
    bounds = g.constant(np.float32(0)), g.constant(np.float32(1.5))
    x = g.op("Clip", g.conv(g.input("x", 8, 9, 9), 8, 8), *bounds)
    g.output(g.conv(x, 8, 8))


@case(QLinearConv=3, QLinearAdd=1, QuantizeLinear=1, DequantizeLinear=1)
def residual(g: FloatGraph) -> None:
    x = g.op("Relu", g.conv(g.input("x", 8, 9, 9), 8, 8))
    y = g.op("Relu", g.op("Add", g.conv(x, 8, 8), x))
    g.output(g.conv(y, 8, 8))


@case(QLinearConv=2, QuantizeLinear=1, DequantizeLinear=1)
def depthwise(g: FloatGraph) -> None:
    x = g.op("Relu", g.conv(g.input("x", 8, 9, 9), 8, 8, group=8))
    g.output(g.conv(x, 8, 16, 1))


@case(QLinearConv=2, QuantizeLinear=1, DequantizeLinear=1)
def grouped(g: FloatGraph) -> None:
    x = g.conv(g.input("x", 8, 9, 9), 8, 16, group=4, bias=False)
    g.output(g.conv(x, 16, 8, group=2))


@case(QLinearConv=2, QuantizeLinear=1, DequantizeLinear=1)
def convolution_in_one_dimension(g: FloatGraph) -> None:
    x = g.op("Conv", g.input("x", 4, 16), g.random(6, 4, 3), g.random(6), pads=[1, 1])
    g.output(g.op("Conv", g.op("Relu", x), g.random(6, 6, 3), strides=[2]))


@case(QLinearConv=3, QLinearConcat=1, QuantizeLinear=1, DequantizeLinear=1)
def concat_of_branches(g: FloatGraph) -> None:
    x = g.input("x", 8, 9, 9)
    branches = g.op("Relu", g.conv(x, 8, 4)), g.conv(x, 8, 6, 1)
    g.output(g.conv(g.op("Concat", *branches, axis=1), 10, 4))


@case(QLinearConv=1, NhwcMaxPool=1, Flatten=1, QGemm=1, QuantizeLinear=1)
def movers_between(g: FloatGraph) -> None:
    x = g.op("Relu", g.conv(g.input("x", 4, 8, 8), 4, 4))
    x = g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.op("Flatten", g.op("Transpose", x, perm=[0, 3, 1, 2]))
    g.output(g.op("Gemm", x, g.random(64, 5), g.random(5)))


@case(QLinearConv=2, Resize=1, QuantizeLinear=1, DequantizeLinear=1)
def nearest_resize(g: FloatGraph) -> None:
    x = g.conv(g.input("x", 4, 6, 6), 4, 4)
    x = g.op("Resize", x, "", g.constant(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    g.output(g.conv(x, 4, 4))


@case(QLinearConv=3, Split=1, QuantizeLinear=1, DequantizeLinear=2)
def split_into_two(g: FloatGraph) -> None:
    x = g.conv(g.input("x", 4, 6, 6), 4, 8)
    left, right = g.ops("Split", x, outs=["left", "right"], axis=1)
    g.output(g.conv(left, 4, 4), g.conv(right, 4, 2))


@case(QGemm=3, QuantizeLinear=1)
def gemms(g: FloatGraph) -> None:
    x = g.op("Gemm", g.input("x", 16), g.random(12, 16), g.random(12), transB=1)
    # Folding merges layers with nothing between them, except around a bottleneck.
    x = g.op("Gemm", g.op("Relu", x), g.random(12, 3), g.random(3))
    g.output(g.op("Gemm", x, g.random(3, 10)))


@case(QLinearMatMul=1, MatMulIntegerToFloat=1, QuantizeLinear=1)
def matmuls_with_constant_weights(g: FloatGraph) -> None:
    x = g.op("MatMul", g.input("x", 5, 16), g.random(16, 3))
    g.output(g.op("MatMul", x, g.random(3, 12)))


@case(QLinearMatMul=2, QLinearAdd=2, QuantizeLinear=1, DequantizeLinear=1)
def matmuls_with_bias(g: FloatGraph) -> None:
    x = g.op("Add", g.op("MatMul", g.input("x", 5, 16), g.random(16, 12)), g.random(12))
    g.output(g.op("Add", g.random(6), g.op("MatMul", x, g.random(12, 6))))


@case(QLinearMatMul=3, QLinearMul=1, QLinearSoftmax=1, MatMulIntegerToFloat=1, QuantizeLinear=1)
def attention(g: FloatGraph) -> None:
    x = g.input("x", 6, 8)
    query, key = g.op("MatMul", x, g.random(8, 8)), g.op("MatMul", x, g.random(8, 8))
    scores = g.op("MatMul", query, g.op("Transpose", key, perm=[0, 2, 1]))
    scores = g.op("Mul", scores, g.constant(np.float32(0.35)))
    g.output(g.op("MatMul", g.op("Softmax", scores, axis=-1), key))


@case(QLinearConv=2, QuantizeLinear=1, DequantizeLinear=2)
def shared_weight(g: FloatGraph) -> None:
    weight, bias = g.random(4, 4, 3, 3), g.random(4)
    x = g.input("x", 4, 6, 6)
    first = g.op("Relu", g.op("Conv", x, weight, bias, kernel_shape=[3, 3], pads=[1] * 4))
    g.output(first, g.op("Conv", first, weight, bias, kernel_shape=[3, 3], pads=[1] * 4))


@case(QLinearConv=3, QuantizeLinear=1, DequantizeLinear=3)
def shared_activation(g: FloatGraph) -> None:
    x = g.input("x", 4, 6, 6)
    g.output(g.conv(x, 4, 4), g.conv(x, 4, 6, 1), g.conv(x, 4, 2))


@case(QLinearConv=2, QuantizeLinear=1, DequantizeLinear=2)
def output_in_the_middle(g: FloatGraph) -> None:
    x = g.op("Relu", g.conv(g.input("x", 4, 6, 6), 4, 4), out="middle")
    g.output(x, g.conv(x, 4, 4, out="last"))


@case(QLinearConv=2, QLinearMul=1, QLinearAdd=1, QuantizeLinear=1, DequantizeLinear=1)
def arithmetic_with_constants(g: FloatGraph) -> None:
    x = g.conv(g.input("x", 4, 6, 6), 4, 4)
    x = g.op("Mul", g.constant(np.linspace(0.5, 2, 6, dtype=np.float32)), x)
    x = g.op("Add", x, g.random(1, 1, 6, 1))
    g.output(g.conv(x, 4, 4))


@case(QLinearConv=2, QLinearAdd=1, QLinearMul=1, QuantizeLinear=1, DequantizeLinear=1)
def operand_twice(g: FloatGraph) -> None:
    x = g.conv(g.input("x", 4, 6, 6), 4, 4)
    x = g.op("Mul", g.op("Add", x, x), x)
    g.output(g.conv(x, 4, 4))


@case(QLinearConv=3, QLinearSigmoid=1, QLinearMul=1, QLinearLeakyRelu=1, QuantizeLinear=1, DequantizeLinear=1)
def smooth_activations(g: FloatGraph) -> None:
    x = g.conv(g.input("x", 4, 6, 6), 4, 4)
    x = g.op("Mul", x, g.op("Sigmoid", x))
    x = g.op("LeakyRelu", g.conv(x, 4, 4), alpha=0.1)
    g.output(g.conv(x, 4, 4))


@case(QLinearConv=1, QLinearAveragePool=1, QLinearGlobalAveragePool=1, Flatten=1, QGemm=1, QuantizeLinear=1)
def pools(g: FloatGraph) -> None:
    x = g.op("Relu", g.conv(g.input("x", 4, 8, 8), 4, 8))
    x = g.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    x = g.op("Flatten", g.op("GlobalAveragePool", x))
    g.output(g.op("Gemm", x, g.random(3, 8), g.random(3), transB=1))


@case(QLinearConv=3, QLinearWhere=1, QuantizeLinear=1, DequantizeLinear=1)
def where(g: FloatGraph) -> None:
    x, chosen = g.input("x", 4, 6, 6), g.input("chosen", 4, 6, 6, kind=TensorProto.BOOL)
    g.output(g.conv(g.op("Where", chosen, g.conv(x, 4, 4), g.conv(x, 4, 4, 1)), 4, 4))


@case(QLinearConv=3, If=1, QuantizeLinear=2, DequantizeLinear=3)
def captured_by_control_flow(g: FloatGraph) -> None:
    x = g.conv(g.input("x", 4, 6, 6), 4, 4, out="captured")
    chosen = g.op("ReduceMax", g.op("Cast", g.op("ReduceMax", g.input("c", 1), keepdims=0), to=TensorProto.INT32))
    bodies = [
        helper.make_graph(
            [helper.make_node(op_type, ["captured"], [result], name=f"{op_type}_inside")],
            op_type,
            [],
            [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        )
        for op_type, result in (("Neg", "negated"), ("Abs", "magnitude"))
    ]
    chosen = g.op("Cast", chosen, to=TensorProto.BOOL)
    y = g.op("If", chosen, then_branch=bodies[0], else_branch=bodies[1])
    g.output(g.conv(y, 4, 4), g.conv(x, 4, 4))


@case(QLinearConv=2, QLinearMul=1, QLinearSigmoid=1, QuantizeLinear=1, DequantizeLinear=1)
def names_that_are_taken(g: FloatGraph) -> None:
    x = g.conv(g.input("x", 4, 6, 6), 4, 4, out="a")
    factors = g.constant(np.ones((1, 1, 6, 6), np.float32) * 3, "a_scale")
    x = g.op("Mul", x, factors, out="a_quantized")
    x = g.op("Sigmoid", x, out="Conv_0_weight")
    g.output(g.conv(x, 4, 4, out="a_dequantized"))


@pytest.fixture(scope="module", params=list(CASES))
def studied(request: pytest.FixtureRequest) -> tuple[str, Study, onnx.ModelProto]:
    graph = FloatGraph(seed=3)
    CASES[request.param][0](graph)
    study = Study(graph.model())
    return request.param, study, study.build()


def test_the_runtime_fuses_it(studied: tuple[str, Study, onnx.ModelProto]) -> None:
    name, study, candidate = studied
    found = dict(executed(candidate, study.feeds))
    for op_type in ("Cast", "ReduceMax"):
        found.pop(op_type, None)
    assert found == CASES[name][1]


def test_outputs_equal_the_reference_within_one_step(studied: tuple[str, Study, onnx.ModelProto]) -> None:
    label, study, candidate = studied
    found, expected, step = run(candidate, study.feeds), reference(candidate, study.feeds), steps(candidate)
    assert list(found) == list(expected) == [o.name for o in study.model.graph.output]
    for name, values in found.items():
        # A product that writes float has no step of its own: it agrees to rounding, or as its operands do.
        exact = 1e-5 * float(np.abs(expected[name]).max())
        tolerance = 1.001 * step.get(name, largest_step(candidate) if label in INEXACT else exact)
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=tolerance)


def test_outputs_are_close_to_float(studied: tuple[str, Study, onnx.ModelProto]) -> None:
    _, study, candidate = studied
    found, expected = run(candidate, study.feeds), study.float_outputs()
    for name, values in found.items():
        error = np.sqrt(np.mean((values - expected[name]) ** 2) / np.mean(expected[name] ** 2))
        assert 0 < error < 0.05


def test_the_given_model_is_left_alone(studied: tuple[str, Study, onnx.ModelProto]) -> None:
    _, study, _ = studied
    before = study.builder.prepared.SerializeToString()
    study.build(QuantizeConfig(activation_dtype="int8", weight_granularity="per_tensor"))
    assert study.builder.prepared.SerializeToString() == before


@pytest.mark.parametrize("activation_dtype", ["uint8", "int8"])
@pytest.mark.parametrize("activation_symmetric", [False, True])
@pytest.mark.parametrize("weight_dtype", ["int8", "uint8"])
@pytest.mark.parametrize("weight_granularity", ["per_channel", "per_tensor"])
def test_every_scheme(
    activation_dtype: str, activation_symmetric: bool, weight_dtype: str, weight_granularity: str
) -> None:
    graph = FloatGraph(seed=5)
    x = graph.input("x", 8, 7, 7)
    x = graph.conv(graph.op("Relu", graph.conv(x, 8, 8)), 8, 8)
    x = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    graph.output(graph.op("Gemm", x, graph.random(5, 8), graph.random(5), transB=1))
    study = Study(graph.model())
    config = QuantizeConfig(
        activation_dtype=activation_dtype,
        activation_symmetric=activation_symmetric,
        weight_dtype=weight_dtype,
        weight_granularity=weight_granularity,
    )
    candidate = study.build(config)
    (found,), (expected,) = run(candidate, study.feeds).values(), reference(candidate, study.feeds).values()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    stored = weights_of(candidate)
    assert {a.dtype.name for n, a in stored.items() if n.endswith("weight_quantized")} == {weight_dtype}
    assert {a.shape for n, a in stored.items() if n.endswith("Gemm_5_weight_scale")} == (
        {(5,)} if weight_granularity == "per_channel" else {()}
    )
    fused = executed(candidate, study.feeds)
    # A zero point of 0 on a signed grid cannot absorb a Relu; that convolution stays float.
    signed_symmetric = activation_dtype == "int8" and activation_symmetric
    assert fused["QLinearConv"] == (1 if signed_symmetric else 2)
    assert fused["QGemm"] == 1


def test_a_shared_weight_is_stored_once() -> None:
    graph = FloatGraph()
    shared_weight(graph)
    stored = weights_of(Study(graph.model()).build())
    assert sum(values.shape == (4, 4, 3, 3) for values in stored.values()) == 1
    assert all(values.dtype != np.float32 for values in stored.values() if values.ndim == 4)


def test_float_neighbours_read_what_the_int8_unit_wrote() -> None:
    graph = FloatGraph()
    x = graph.conv(graph.input("x", 4, 6, 6), 4, 4)
    graph.output(graph.op("Exp", x), graph.conv(x, 4, 4))
    study = Study(graph.model())
    candidate = study.build()
    assert executed(candidate, study.feeds)["QLinearConv"] == 2
    exponents = np.log(run(candidate, study.feeds)["t1"])
    scale, zero = weights_of(candidate)["t0_scale"], weights_of(candidate)["t0_zero_point"]
    grid = exponents / scale + zero
    np.testing.assert_allclose(grid, np.rint(grid), atol=2e-3)


def test_metadata_of_the_model_is_kept() -> None:
    graph = FloatGraph()
    graph.output(graph.conv(graph.input("x", 4, 6, 6), 4, 4))
    model = graph.model()
    helper.set_model_props(model, {"names": "cat,dog"})
    assert {p.key: p.value for p in Study(model).build().metadata_props} == {"names": "cat,dog"}

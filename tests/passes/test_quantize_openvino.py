"""Candidates for OpenVINO: what its kernels take in, which layers it can compute in integers, and the numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("openvino", reason="openvino is not installed")

from autocompress.graph.model import model_bytes
from autocompress.passes.quantize import FP32, INT8, QuantizeConfig
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp

sys.path.append(str(Path(__file__).parent))
from quantize_models import Arrays, FloatGraph, Study

_CENTRED = QuantizeConfig(activation_dtype="int8", activation_symmetric=True)


def executed(model: onnx.ModelProto, feeds: Arrays) -> list[ExecutedOp]:
    first = {name: values[:1] for name, values in feeds.items()}
    ops = get_runtime("openvino").executed_ops(model_bytes(model), first)
    return [op for op in ops if op.signature.op_type != "Reorder"]


def types(model: onnx.ModelProto, feeds: Arrays) -> list[str]:
    return [op.signature.op_type for op in executed(model, feeds)]


def agrees(study: Study, config: QuantizeConfig) -> float:
    """Correlation between the candidate's outputs in OpenVINO and the float model's in ONNX Runtime."""
    candidate = study.build(config)
    found = get_runtime("openvino").load(model_bytes(candidate)).run(study.feeds)
    pairs = [(found[name].ravel(), values.ravel()) for name, values in study.float_outputs().items()]
    return min(float(np.corrcoef(a, b)[0, 1]) for a, b in pairs)


def silu(graph: FloatGraph, x: str) -> str:
    return graph.op("Mul", x, graph.op("Sigmoid", x))


def test_units_take_in_bias_and_activation_however_it_is_written() -> None:
    graph = FloatGraph()
    bounds = [graph.constant(np.float32(v)) for v in (0.5, 6)]
    x = silu(graph, graph.conv(graph.input("x", 4, 6, 6), 4, 4))
    x = graph.op("Clip", graph.conv(x, 4, 4), *bounds)
    shared = graph.conv(x, 4, 4)
    gate = graph.op("Sigmoid", shared)
    graph.output(graph.op("Mul", gate, x), graph.op("Add", shared, gate))
    units = Study(graph.model(), runtime="openvino").units
    assert {name: unit.nodes for name, unit in units.items() if unit.op_type == "Conv"} == {
        "Conv_0": ("Conv_0", "Sigmoid_1", "Mul_2"),
        "Conv_3": ("Conv_3", "Clip_4"),
        "Conv_5": ("Conv_5",),  # two tensors leave what follows
    }


def test_a_product_takes_in_its_bias_and_gelu() -> None:
    graph = FloatGraph()
    root, one, half = (graph.constant(np.float32(v)) for v in (2**0.5, 1, 0.5))
    x = graph.op("Add", graph.op("MatMul", graph.input("x", 4, 8), graph.random(8, 16)), graph.random(16))
    x = graph.op("Mul", x, graph.op("Add", graph.op("Erf", graph.op("Div", x, root)), one))
    x = graph.op("Mul", x, half)
    graph.output(graph.op("MatMul", x, graph.random(16, 4)))
    study = Study(graph.model(), runtime="openvino")
    first, second = study.units.values()
    assert [name.partition("_")[0] for name in first.nodes] == ["MatMul", "Add", "Div", "Erf", "Add", "Mul", "Mul"]
    assert second.nodes == ("MatMul_7",)
    assert types(study.build(), study.feeds) == ["QuantizeLinear", "FullyConnected", "FullyConnected"]
    assert agrees(study, QuantizeConfig()) > 0.99


def test_a_residual_block_is_integers_from_end_to_end() -> None:
    graph = FloatGraph()
    x = graph.op("Relu", graph.conv(graph.input("x", 4, 8, 8), 4, 16))
    branch = graph.conv(graph.op("Relu", graph.conv(x, 16, 16)), 16, 16)
    x = graph.op("Relu", graph.op("Add", branch, x))
    graph.output(graph.op("Flatten", graph.op("GlobalAveragePool", x)))
    study = Study(graph.model(), runtime="openvino")
    found = executed(study.build(), study.feeds)
    assert [op.signature.op_type for op in found] == ["QuantizeLinear", *["Convolution"] * 3, "Reduce"]
    assert all(t is None or t.constant or t.dtype == "uint8" for op in found[1:] for t in op.signature.inputs)
    assert agrees(study, QuantizeConfig()) > 0.99


def test_an_add_that_follows_no_kernel_is_no_unit() -> None:
    graph = FloatGraph()
    x = graph.input("x", 4, 8, 8)
    both = graph.op("Add", graph.op("Tanh", x), graph.op("Abs", x))
    graph.output(graph.conv(both, 4, 4))
    assert [unit.op_type for unit in Study(graph.model(), runtime="openvino").units.values()] == ["Conv"]


@pytest.mark.parametrize("bias", [True, False])
def test_transposed_convolutions_are_integers_where_zero_is_the_zero_point(bias: bool) -> None:
    graph = FloatGraph()
    operands = [graph.random(8, 6, 3, 3)] + ([graph.random(6)] if bias else [])
    x = graph.conv(graph.input("x", 4, 8, 8), 4, 8)
    x = graph.op("ConvTranspose", x, *operands, kernel_shape=[3, 3], strides=[2, 2])
    graph.output(x)
    study = Study(graph.model(), runtime="openvino")
    assert study.units["ConvTranspose_1"].options == (FP32, INT8)

    def weight_dtypes(config: QuantizeConfig) -> list[str]:
        kernels = [op.signature for op in executed(study.build(config), study.feeds) if len(op.signature.inputs) > 1]
        return [s.inputs[1].dtype for s in kernels if s.inputs[1] is not None]

    assert weight_dtypes(_CENTRED) == ["int8", "int8"]
    assert weight_dtypes(QuantizeConfig()) == ["int8", "float32"]
    for config in (_CENTRED, QuantizeConfig(), QuantizeConfig(weight_granularity="per_tensor")):
        assert agrees(study, config) > 0.99


def test_products_of_activations_are_integers_where_zero_is_the_zero_point() -> None:
    graph = FloatGraph()
    x = graph.input("x", 4, 8)
    a = graph.op("MatMul", x, graph.random(8, 8))
    b = graph.op("Transpose", graph.op("MatMul", x, graph.random(8, 8)), perm=[0, 2, 1])
    graph.output(graph.op("MatMul", a, b))
    study = Study(graph.model(), runtime="openvino")
    precisions = {
        config: study.builder.quantizer.precisions(config)["MatMul_3"] for config in (_CENTRED, QuantizeConfig())
    }
    assert list(precisions.values()) == [INT8, FP32]
    (product,) = (op for op in executed(study.build(_CENTRED), study.feeds) if op.signature.op_type == "MatMul")
    assert product.signature.inputs[0] is not None
    assert product.signature.inputs[0].dtype == "int8"
    assert agrees(study, _CENTRED) > 0.98


def test_float_layers_among_integers_are_left_as_they_are() -> None:
    graph = FloatGraph()
    x = graph.conv(graph.input("x", 4, 8, 8), 4, 8)
    x = graph.conv(x, 8, 8)
    graph.output(graph.conv(x, 8, 4))
    study = Study(graph.model(), runtime="openvino")
    found = executed(study.build(QuantizeConfig().with_precisions({"Conv_1": FP32})), study.feeds)
    kernels = [op.signature.inputs[1] for op in found if op.signature.op_type == "Convolution"]
    assert [k.dtype for k in kernels if k is not None] == ["int8", "float32", "int8"]


def joined(axis: int, *, moved: bool = False) -> FloatGraph:
    """Two products, joined, before another."""
    graph = FloatGraph(seed=1)
    x = graph.input("x", 6, 8)
    branches = graph.op("MatMul", x, graph.random(8, 8)), graph.op("MatMul", x, graph.random(8, 8, scale=3.0))
    x = graph.op("Concat", *branches, axis=axis)
    if moved:
        x = graph.op("Reshape", x, graph.constant(np.array([0, -1, 4, 2])))
        x = graph.op("Reshape", x, graph.constant(np.array([0, -1, 8])))
    rows = 16 if axis in (2, -1) else 8
    graph.output(graph.op("MatMul", x, graph.random(rows, 8)), graph.op("MatMul", x, graph.random(rows, 4)))
    return graph


@pytest.mark.parametrize("moved", [False, True])
def test_a_product_behind_rows_that_were_joined_needs_zero_points_of_zero(moved: bool) -> None:
    # With others OpenVINO refuses the model.
    study = Study(joined(1, moved=moved).model(), runtime="openvino")
    for config, expected in ((QuantizeConfig(), FP32), (_CENTRED, INT8)):
        precisions = list(study.builder.quantizer.precisions(config).values())
        assert precisions == [INT8, INT8, expected, expected]
        assert agrees(study, config) > 0.99
        options = list(study.builder.quantizer.options(config).values())
        assert [INT8 in unit for unit in options] == [p == INT8 for p in precisions]


@pytest.mark.parametrize("axis", [2, -1])
def test_a_product_behind_columns_that_were_joined_is_integers(axis: int) -> None:
    study = Study(joined(axis).model(), runtime="openvino")
    assert set(study.builder.quantizer.precisions(QuantizeConfig()).values()) == {INT8}
    assert agrees(study, QuantizeConfig()) > 0.99


@pytest.mark.parametrize("blocks", [2, 4])
def test_dense_blocks_run(blocks: int) -> None:
    graph = FloatGraph(seed=2)
    x, channels = graph.conv(graph.input("x", 3, 8, 8), 3, 8), 8
    for _ in range(blocks):
        parameters = [graph.constant(v) for v in (graph.rng.random((4, channels)) + 0.5).astype(np.float32)]
        y = graph.op("Relu", graph.op("BatchNormalization", x, *parameters))
        x, channels = graph.op("Concat", x, graph.conv(y, channels, 4), axis=1), channels + 4
    parameters = [graph.constant(v) for v in (graph.rng.random((4, channels)) + 0.5).astype(np.float32)]
    graph.output(graph.conv(graph.op("BatchNormalization", x, *parameters), channels, 4))
    study = Study(graph.model(), runtime="openvino")
    assert agrees(study, QuantizeConfig()) > 0.99


@pytest.mark.parametrize("config", [QuantizeConfig(), _CENTRED], ids=["unsigned", "signed"])
@pytest.mark.parametrize("moved", [False, True])
def test_a_convolution_behind_a_concat_is_right_or_float(config: QuantizeConfig, moved: bool) -> None:
    # What a Concat joins in signed integers OpenVINO stores rounded to whole numbers: an error of 15 %.
    graph = FloatGraph(seed=3)
    x = graph.input("x", 4, 8, 8)
    x = graph.op("Concat", graph.conv(x, 4, 4), graph.conv(x, 4, 4), axis=1)
    if moved:
        x = graph.op("MaxPool", x, kernel_shape=[2, 2])
    graph.output(graph.conv(x, 8, 4, out="y"))
    study = Study(graph.model(), runtime="openvino")
    *_, last = study.units.values()
    expected = FP32 if config == _CENTRED else INT8
    assert study.builder.quantizer.precisions(config)[last.name] == expected
    assert (INT8 in study.builder.quantizer.options(config)[last.name]) == (expected == INT8)
    assert agrees(study, config) > 0.999

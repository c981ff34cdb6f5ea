"""Whether the rules of every runtime about Q/DQ are true, read off the graphs that it executes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from autocompress.graph.signature import TensorType
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp, Runtime

sys.path.append(str(Path(__file__).parents[1] / "runtimes"))
from qdq_models import QdqGraph, feeds_for

_SHAPE = (1, 16, 12, 12)
_INTEGERS = ("uint8", "int8")
# What only brings data into another order or shape, in whatever type it is.
_LAYOUT = ("Reorder", "Reshape", "Transpose", "ReorderInput", "ReorderOutput")


def executed(
    runtime: Runtime, graph: QdqGraph, inputs: dict[str, tuple[int, ...]], outputs: list[str], opset: int = 17
) -> list[ExecutedOp]:
    model = onnx.ModelProto.FromString(graph.model(inputs, outputs))
    model.opset_import[0].version = opset
    model.ir_version = 10 if opset > 17 else model.ir_version
    return list(runtime.executed_ops(model.SerializeToString(), feeds_for(inputs), standalone=False))


def is_integer(op: ExecutedOp) -> bool:
    """Whether what an operator computes on is 8-bit integers; an operand that it only adds may be float."""
    return all(t.dtype in _INTEGERS for t in activations(op)[:1])


def activations(op: ExecutedOp) -> list[TensorType]:
    return [t for t in op.signature.inputs if t is not None and not t.constant and t.elements > 1]


def float_ops(ops: list[ExecutedOp]) -> list[str]:
    """Types of the operators that compute in float: all but the entrances and what is only layout."""
    others = [op for op in ops if op.signature.op_type not in ("QuantizeLinear", *_LAYOUT)]
    return [op.signature.op_type for op in others if not is_integer(op)]


def is_integer_only(ops: list[ExecutedOp], inputs: int = 1, outputs: int = 1) -> bool:
    """Whether nothing but the entrances and the exits converts, and everything between is in integers."""
    types = [op.signature.op_type for op in ops]
    entrances = [op for op in ops if op.signature.op_type == "QuantizeLinear" and not is_integer(op)]
    return not float_ops(ops) and len(entrances) == inputs and types.count("DequantizeLinear") <= outputs


_TRANSPARENT = {
    "DepthToSpace": ({"blocksize": 2}, []),
    "Expand": ({}, [np.array([2, 32, 12, 12])]),
    "Flatten": ({}, []),
    "Gather": ({"axis": 1}, [np.array([1, 3])]),
    "Identity": ({}, []),
    "MaxPool": ({"kernel_shape": [2, 2], "strides": [2, 2]}, []),
    "Reshape": ({}, [np.array([1, -1])]),
    "Resize": ({"mode": "nearest"}, [np.array([], np.float32), np.array([1, 1, 2, 2], np.float32)]),
    "Slice": ({}, [np.array([1]), np.array([5]), np.array([1])]),
    "Split": ({"axis": 1}, []),
    "Squeeze": ({}, [np.array([0])]),
    "Tile": ({}, [np.array([1, 2, 1, 1])]),
    "Transpose": ({"perm": [0, 2, 3, 1]}, []),
    "Unsqueeze": ({}, [np.array([0])]),
}
_UNARY_JOINT = {
    "AveragePool": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "GlobalAveragePool": {},
    "LeakyRelu": {"alpha": 0.1},
    "Sigmoid": {},
    "Softmax": {"axis": -1},
}
_KNOWN_FLOAT = ["Tanh", "HardSigmoid", "Exp", "Sqrt", "Neg", "Abs", "Erf"]


def convolved(graph: QdqGraph, name: str = "x", *, zero_point: int | None = None) -> str:
    """The dequantized result of an int8 convolution, of shape (1, 32, 12, 12)."""
    weight = graph.weight((32, 16, 3, 3), 0)
    (result,) = graph.op("Conv", [graph.qdq(name), weight, graph.bias(32)], kernel_shape=[3, 3], pads=[1] * 4)
    return graph.qdq(result, 0.05, zero_point)


@pytest.mark.parametrize("activation", _INTEGERS)
def test_transparent_ops_move_integers(runtime: Runtime, activation: str) -> None:
    assert runtime.quantization.transparent_ops <= _TRANSPARENT.keys()
    for op_type in sorted(runtime.quantization.transparent_ops):
        attributes, extra = _TRANSPARENT[op_type]
        graph = QdqGraph(activation)
        operands = [convolved(graph), *(graph.constant(values) for values in extra)]
        results = graph.op(op_type, operands, 2 if op_type == "Split" else 1, **attributes)
        outputs = [graph.qdq(result, 0.05) for result in results]
        ops = executed(runtime, graph, {"x": _SHAPE}, outputs)
        assert is_integer_only(ops, 1, len(outputs)), (op_type, ops)


@pytest.mark.parametrize("activation", _INTEGERS)
def test_joint_ops_have_integer_kernels(runtime: Runtime, activation: str) -> None:
    rules = runtime.quantization
    for op_type in sorted(rules.joint_ops):
        graph = QdqGraph(activation)
        inputs = {"x": _SHAPE} if op_type in _UNARY_JOINT else {"x": _SHAPE, "z": _SHAPE}
        # Add reads the other operand's own convolution, as a residual block does.
        operands = [convolved(graph, name) for name in inputs]
        if op_type == "Where":
            operands.insert(0, graph.constant(np.array([[True, False] * 6])))
        attributes = _UNARY_JOINT.get(op_type, {"axis": 1} if op_type == "Concat" else {})
        (result,) = graph.op(op_type, operands, **attributes)
        ops = executed(runtime, graph, inputs, [graph.qdq(result, 0.1)])
        centred = activation == "int8" or op_type not in rules.centred_ops
        assert is_integer_only(ops, len(inputs)) == centred, (op_type, ops)


def test_following_ops_are_float_on_their_own(runtime: Runtime) -> None:
    for op_type in sorted(runtime.quantization.following_ops):
        graph = QdqGraph()
        (result,) = graph.op(op_type, [graph.qdq("x"), graph.qdq("z", 0.03)])
        ops = executed(runtime, graph, {"x": _SHAPE, "z": _SHAPE}, [graph.qdq(result, 0.05)])
        assert float_ops(ops), (op_type, ops)


def test_ops_outside_the_rules_stay_float(runtime: Runtime) -> None:
    rules = runtime.quantization
    for op_type in _KNOWN_FLOAT:
        if op_type in rules.joint_ops | rules.transparent_ops:
            continue
        graph = QdqGraph()
        (result,) = graph.op(op_type, [graph.qdq("x")])
        assert float_ops(executed(runtime, graph, {"x": _SHAPE}, [graph.qdq(result)])), op_type


def weighted(
    graph: QdqGraph, op_type: str, weight_dtype: str = "int8", *, per_channel: bool = True
) -> tuple[str, tuple[int, ...]]:
    x = graph.qdq("x")
    if op_type == "Conv":
        weight = graph.weight((32, 16, 3, 3), 0, weight_dtype, per_channel=per_channel)
        return graph.op("Conv", [x, weight, graph.bias(32)], kernel_shape=[3, 3])[0], _SHAPE
    if op_type == "ConvTranspose":
        weight = graph.weight((16, 32, 3, 3), 1, weight_dtype, per_channel=per_channel)
        return graph.op("ConvTranspose", [x, weight, graph.bias(32)], kernel_shape=[3, 3])[0], _SHAPE
    if op_type == "Gemm":
        weight = graph.weight((32, 64), 0, weight_dtype, per_channel=per_channel)
        return graph.op("Gemm", [x, weight, graph.bias(32)], transB=1)[0], (4, 64)
    assert op_type == "MatMul", f"add {op_type} to this test"
    weight = graph.weight((64, 32), 1, weight_dtype, per_channel=per_channel)
    return graph.op("MatMul", [x, weight])[0], (2, 8, 64)


def with_integer_weight(ops: list[ExecutedOp]) -> list[ExecutedOp]:
    """The operators that compute on an activation and a weight, in integers."""
    weighted = [op for op in ops if any(t is not None and t.constant and len(t.shape) > 1 for t in op.signature.inputs)]
    return [op for op in weighted if activations(op) and is_integer(op)]


@pytest.mark.parametrize("activation", _INTEGERS)
@pytest.mark.parametrize("weight_dtype", ["int8", "uint8"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weighted_ops_become_one_integer_kernel(
    runtime: Runtime, activation: str, weight_dtype: str, per_channel: bool
) -> None:
    rules = runtime.quantization
    for op_type in sorted(rules.weighted_ops):
        graph = QdqGraph(activation)
        result, shape = weighted(graph, op_type, weight_dtype, per_channel=per_channel)
        ops = executed(runtime, graph, {"x": shape}, [graph.qdq(result, 0.05)])
        centred = activation == "int8" or op_type not in rules.centred_ops - {"MatMul"}
        possible = centred and weight_dtype in rules.weight_dtypes
        assert is_integer_only(ops) == possible, (op_type, ops)
        assert len(with_integer_weight(ops)) == possible, (op_type, ops)


def test_which_integer_kernels_can_write_float(runtime: Runtime) -> None:
    rules = runtime.quantization
    for op_type in sorted(rules.weighted_ops):
        graph = QdqGraph("int8")
        result, shape = weighted(graph, op_type)
        ops = executed(runtime, graph, {"x": shape}, [result])
        writes_float = any(op.signature.outputs[0].dtype == "float32" for op in with_integer_weight(ops))
        assert writes_float == (op_type in rules.float_result_ops), (op_type, ops)


def test_whether_the_bias_of_a_product_is_part_of_its_kernel(runtime: Runtime) -> None:
    graph = QdqGraph()
    product, shape = weighted(graph, "MatMul")
    (result,) = graph.op("Add", [product, graph.constant(graph.rng.standard_normal(32).astype(np.float32))])
    ops = executed(runtime, graph, {"x": shape}, [result])
    assert (not float_ops(ops)) == runtime.quantization.bias_adds


def activation_op(graph: QdqGraph, op_type: str, x: str) -> str:
    bounds = [graph.constant(np.float32(0)), graph.constant(np.float32(6))] if op_type == "Clip" else []
    return graph.op(op_type, [x, *bounds])[0]


@pytest.mark.parametrize("activation", _INTEGERS)
def test_fused_activations_vanish_where_the_range_already_clips(runtime: Runtime, activation: str) -> None:
    for op_type in sorted(runtime.quantization.fused_activations):
        graph = QdqGraph(activation)
        result, shape = weighted(graph, "Conv")
        output = graph.qdq(activation_op(graph, op_type, result), 6 / 255, graph.smallest)
        ops = executed(runtime, graph, {"x": shape}, [output])
        assert is_integer_only(ops), (op_type, ops)
        assert op_type not in {op.signature.op_type for op in ops}


def test_a_clip_inside_the_range_costs_the_integer_kernel() -> None:
    graph = QdqGraph()
    result, shape = weighted(graph, "Conv")
    output = graph.qdq(activation_op(graph, "Clip", result), 0.05, 0)
    ops = executed(get_runtime("onnxruntime"), graph, {"x": shape}, [output])
    assert "QLinearConv" not in {op.signature.op_type for op in ops}


def written(graph: QdqGraph, op_types: tuple[str, ...], x: str) -> str:
    """Applies an activation that is written in several operators."""

    def op(op_type: str, *operands: str | float) -> str:
        names = [o if isinstance(o, str) else graph.constant(np.float32(o)) for o in operands]
        return graph.op(op_type, names)[0]

    def gelu(scaled: str) -> str:
        return op("Add", op("Erf", scaled), 1.0)

    several: dict[tuple[str, ...], Callable[[], str]] = {
        ("Sigmoid", "Mul"): lambda: op("Mul", x, op("Sigmoid", x)),
        ("Softplus", "Tanh", "Mul"): lambda: op("Mul", x, op("Tanh", op("Softplus", x))),
        ("Add", "Clip", "Mul", "Div"): lambda: op("Div", op("Mul", x, op("Clip", op("Add", x, 3.0), 0.0, 6.0)), 6.0),
        ("Add", "Clip", "Div", "Mul"): lambda: op("Mul", x, op("Div", op("Clip", op("Add", x, 3.0), 0.0, 6.0), 6.0)),
        ("Div", "Erf", "Add", "Mul", "Mul"): lambda: op("Mul", op("Mul", x, gelu(op("Div", x, 2**0.5))), 0.5),
        ("Mul", "Erf", "Add", "Mul", "Mul"): lambda: op("Mul", op("Mul", x, gelu(op("Mul", x, 0.5**0.5))), 0.5),
        ("Mul", "Div", "Erf", "Add", "Mul"): lambda: op("Mul", op("Mul", x, 0.5), gelu(op("Div", x, 2**0.5))),
        ("Pow", "Mul", "Add", "Mul", "Tanh", "Add", "Mul", "Mul"): lambda: fast_gelu(op, x),
        ("Clip",): lambda: op("Clip", x, 0.0, 6.0),
        ("PRelu",): lambda: graph.op("PRelu", [x, graph.constant(np.full((32, 1, 1), 0.1, np.float32))])[0],
    }
    return several[op_types]() if op_types in several else graph.op(op_types[0], [x])[0]


def fast_gelu(op: Callable[..., str], x: str) -> str:
    """x * 0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))."""
    inner = op("Tanh", op("Mul", op("Add", x, op("Mul", op("Pow", x, 3.0), 0.044715)), (2 / np.pi) ** 0.5))
    inner = op("Add", inner, 1.0)
    return op("Mul", op("Mul", x, 0.5), inner)


@pytest.mark.parametrize("activation", _INTEGERS)
def test_computed_activations_are_part_of_the_kernel(runtime: Runtime, activation: str) -> None:
    for op_types in sorted(runtime.quantization.computed_activations):
        graph = QdqGraph(activation)
        result, shape = weighted(graph, "Conv")
        before = len(graph.nodes)
        output = graph.qdq(written(graph, op_types, result), 0.05)
        assert tuple(n.op_type for n in graph.nodes[before:-2]) == op_types
        opset = 24 if op_types == ("Swish",) else 20
        ops = executed(runtime, graph, {"x": shape}, [output], opset)
        assert is_integer_only(ops), (op_types, ops)


@pytest.mark.parametrize("per_channel", [True, False])
def test_dynamic_ops_become_one_kernel(runtime: Runtime, per_channel: bool) -> None:
    assert runtime.quantization.dynamic_ops <= {"MatMul"}, "add what is new to this test"
    graph = QdqGraph()
    quantized, scale, zero = graph.op("DynamicQuantizeLinear", ["x"], 3)
    n = 32 if per_channel else 1
    weight = graph.constant(graph.rng.integers(-100, 100, (64, 32)).astype(np.int8))
    zeros = graph.constant(np.zeros(n, np.int8) if per_channel else np.int8(0))
    scales = graph.constant(np.full(n, 0.01, np.float32) if per_channel else np.float32(0.01))
    (product,) = graph.op("MatMulInteger", [quantized, weight, zero, zeros])
    (product,) = graph.op("Cast", [product], to=TensorProto.FLOAT)
    (factor,) = graph.op("Mul", [scale, scales])
    (output,) = graph.op("Mul", [product, factor])
    ops = executed(runtime, graph, {"x": (2, 8, 64)}, [output])
    assert (len(ops) <= 2) == ("MatMul" in runtime.quantization.dynamic_ops), ops


def float_layer(graph: QdqGraph, op_type: str, x: str) -> tuple[str, tuple[int, ...]]:
    def constant(*shape: int) -> str:
        return graph.constant(graph.rng.standard_normal(shape).astype(np.float32))

    if op_type == "Gemm":
        return graph.op("Gemm", [x, constant(32, 64), constant(32)], transB=1)[0], (4, 64)
    if op_type == "MatMul":
        return graph.op("MatMul", [x, constant(64, 32)])[0], (2, 4, 64)
    assert op_type in ("Conv", "ConvTranspose"), f"add {op_type} to this test"
    return graph.op(op_type, [x, constant(16, 16, 3, 3), constant(16)], kernel_shape=[3, 3])[0], _SHAPE


def quantizes_weights(runtime: Runtime, graph: QdqGraph, shape: tuple[int, ...], output: str) -> bool:
    ops = executed(runtime, graph, {"x": shape}, [output])
    return any(t is not None and t.constant and t.dtype == "int8" for op in ops for t in op.signature.inputs)


def test_which_float_layers_between_integers_the_runtime_quantizes_on_its_own(runtime: Runtime) -> None:
    for op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        graph = QdqGraph()
        result, shape = float_layer(graph, op_type, graph.qdq("x"))
        taken = quantizes_weights(runtime, graph, shape, graph.qdq(result, 0.05))
        assert taken == (op_type in runtime.quantization.requantized_ops), op_type


def test_a_dequantize_with_a_scale_per_channel_keeps_a_layer_float(runtime: Runtime) -> None:
    for op_type in sorted(runtime.quantization.requantized_ops):
        graph = QdqGraph()
        _, shape = float_layer(QdqGraph(), op_type, "x")
        (quantized,) = graph.op("QuantizeLinear", ["x", graph.constant(np.float32(0.02)), graph.constant(np.uint8(0))])
        scales = graph.constant(np.full(shape[1], 0.02, np.float32))
        zeros = graph.constant(np.zeros(shape[1], np.uint8))
        (x,) = graph.op("DequantizeLinear", [quantized, scales, zeros], axis=1)
        result, _ = float_layer(graph, op_type, x)
        assert not quantizes_weights(runtime, graph, shape, graph.qdq(result, 0.05)), op_type

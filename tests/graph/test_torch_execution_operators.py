"""Every operator that torch executes: forward against ONNX Runtime, gradients against finite differences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from autocompress.graph.torch_execution.operators import OPERATORS
from autocompress.graph.torch_execution.torch_graph import TorchGraph

RNG = np.random.default_rng(7)


@dataclass(frozen=True)
class Case:
    op: str
    operands: list[Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 17
    results: int = 1
    rough: bool = False  # rounds, counts or compares: it has no gradient to check
    constant: tuple[int, ...] = ()  # operands that have to be stored rather than fed

    def __str__(self) -> str:
        shown = "-".join(
            f"{key}{value}" for key, value in self.attributes.items() if not hasattr(value, "SerializeToString")
        )
        shapes = "x".join("_" if value is None else "".join(map(str, value.shape)) or "s" for value in self.operands)
        return f"{self.op}-{self.opset}-{shapes}-{shown}"[:90]


def f(*shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Distinct floats that keep away from each other and from whole numbers, where functions have corners."""
    count = int(np.prod(shape))
    steps = RNG.permutation(count) + RNG.uniform(0.3, 0.7, count)
    return (low + (high - low) * steps / max(count, 1)).reshape(shape).astype(np.float32)


def i(*values: int, dtype: type = np.int64) -> np.ndarray:
    return np.array(values, dtype=dtype)


def b(*shape: int) -> np.ndarray:
    return RNG.random(shape) < 0.5


def s(value: float, dtype: type = np.float32) -> np.ndarray:
    return np.array(value, dtype=dtype)


def tensor(values: list[Any], kind: int) -> TensorProto:
    return helper.make_tensor("value", kind, [len(values)], values)


def conv_cases() -> list[Case]:
    x, w = f(2, 4, 9, 8), f(6, 4, 3, 2)
    return [
        Case("Conv", [x, w, f(6)]),
        Case("Conv", [x, w], {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}),
        Case("Conv", [x, f(6, 2, 3, 3), f(6)], {"group": 2, "pads": [1, 1, 1, 1]}),
        Case("Conv", [x, f(4, 1, 3, 3)], {"group": 4, "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        Case("Conv", [x, f(3, 4, 2, 4)], {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
        Case("Conv", [x, w], {"auto_pad": "VALID"}),
        Case("Conv", [f(2, 3, 11), f(4, 3, 3), f(4)], {"pads": [1, 2], "strides": [2]}),
        Case("Conv", [f(1, 2, 5, 5, 4), f(3, 2, 3, 3, 2)], {"pads": [1, 1, 0, 1, 1, 1]}),
        Case("ConvTranspose", [f(2, 4, 4, 5), f(4, 3, 3, 2), f(3)], {"strides": [2, 3]}),
        Case("ConvTranspose", [f(2, 4, 4, 5), f(4, 3, 4, 4)], {"strides": [2, 2], "pads": [1, 0, 2, 1]}),
        Case(
            "ConvTranspose", [f(1, 4, 4, 4), f(4, 2, 3, 3), f(4)],
            {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1], "group": 2},
        ),
        Case("ConvTranspose", [f(1, 4, 4, 4), f(4, 2, 3, 3)], {"dilations": [2, 1], "strides": [1, 2]}),
        Case("ConvTranspose", [f(1, 3, 4, 4), f(3, 2, 4, 4)], {"strides": [2, 2], "output_shape": [7, 8]}),
        Case("ConvTranspose", [f(1, 3, 4, 4), f(3, 2, 3, 3)], {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        Case("ConvTranspose", [f(1, 3, 4, 4), f(3, 2, 3, 3)], {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
        Case("ConvTranspose", [f(2, 3, 6), f(3, 2, 3), f(2)], {"strides": [2]}),
    ]  # fmt: skip


def pool_cases() -> list[Case]:
    x = f(2, 3, 9, 8)
    cases = []
    for op, more in (
        ("MaxPool", {}),
        ("AveragePool", {}),
        ("AveragePool", {"count_include_pad": 1}),
        ("LpPool", {"p": 3}),
    ):
        opset = 18 if op == "LpPool" else 19
        cases += [
            Case(op, [x], {"kernel_shape": [3, 2], **more}, opset),
            Case(op, [x], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], **more}, opset),
            Case(op, [x], {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [0, 1, 2, 0], **more}, opset),
            Case(op, [x], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER", **more}, opset),
            Case(op, [x], {"kernel_shape": [2, 4], "strides": [2, 3], "auto_pad": "SAME_LOWER", **more}, opset),
        ]
        if op != "LpPool":
            cases += [
                Case(op, [x], {"kernel_shape": [3, 3], "strides": [2, 3], "ceil_mode": 1, **more}, opset),
                Case(
                    op,
                    [x],
                    {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1], **more},
                    opset,
                ),
                Case(
                    op,
                    [f(1, 2, 12)],
                    {"kernel_shape": [3], "strides": [2], "ceil_mode": 1, "pads": [1, 0], **more},
                    opset,
                ),
                Case(op, [x], {"kernel_shape": [2, 3], "dilations": [2, 2], "pads": [1, 1, 1, 1], **more}, opset),
                Case(op, [f(1, 2, 5, 6, 4)], {"kernel_shape": [2, 3, 2], "pads": [0, 1, 0, 1, 1, 1], **more}, opset),
            ]
    cases += [Case(op, [f(2, 3, 5, 4)]) for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")]
    return [*cases, Case("GlobalLpPool", [f(2, 3, 5)], {"p": 3})]


def linear_cases() -> list[Case]:
    return [
        Case("MatMul", [f(2, 3, 4), f(4, 5)]),
        Case("MatMul", [f(2, 1, 3, 4), f(3, 4, 5)]),
        Case("MatMul", [f(4), f(4, 5)]),
        Case("MatMul", [f(2, 3, 4), f(4)]),
        Case("Gemm", [f(3, 4), f(4, 5), f(5)]),
        Case("Gemm", [f(4, 3), f(5, 4), f(3, 1)], {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
        Case("Gemm", [f(3, 4), f(4, 5)], {"alpha": 3.0}),
        Case("Einsum", [f(2, 3, 4, 5), f(2, 3, 6, 5)], {"equation": "bhid, bhjd -> bhij"}),
        Case("Einsum", [f(3, 4)], {"equation": "ij->j"}),
    ]


def normalization_cases() -> list[Case]:
    x, scale, bias = f(2, 6, 4, 3), f(6), f(6)
    return [
        Case("BatchNormalization", [x, scale, bias, f(6), f(6, low=0.5)], {"epsilon": 1e-3}),
        Case("InstanceNormalization", [x, scale, bias]),
        Case("GroupNormalization", [x, f(3), f(3)], {"num_groups": 3}, 18),
        Case("GroupNormalization", [x, scale, bias], {"num_groups": 2}, 21),
        Case("LayerNormalization", [f(2, 5, 7), f(7), f(7)], results=3),
        Case("LayerNormalization", [f(2, 5, 7), f(5, 7)], {"axis": 1, "epsilon": 1e-2}),
        Case("RMSNormalization", [f(2, 5, 7), f(7)], opset=23),
        Case("MeanVarianceNormalization", [f(2, 3, 4, 5)]),
        Case("MeanVarianceNormalization", [f(2, 3, 4, 5)], {"axes": [2, 3]}),
        Case("LpNormalization", [f(3, 4, 5)]),
        Case("LpNormalization", [f(3, 4, 5)], {"axis": 1, "p": 1}),
        Case("LRN", [f(2, 7, 3, 3)], {"size": 3, "alpha": 0.1}),
        Case("LRN", [f(2, 7, 3, 3)], {"size": 5, "beta": 0.5, "bias": 2.0}),
    ]


def activation_cases() -> list[Case]:
    x = f(3, 4, 5, low=-4, high=4)
    plain = ("Relu", "Sigmoid", "Tanh", "Erf", "Softsign", "Mish", "Softplus", "LeakyRelu", "ThresholdedRelu")
    more = ("HardSigmoid", "HardSwish", "Elu", "Celu", "Selu", "Softmax", "LogSoftmax")
    return [
        *(Case(op, [x], opset=18) for op in plain + more),
        Case("Swish", [x], {"alpha": 1.5}, 24),
        Case("Gelu", [x], opset=20),
        Case("Gelu", [x], {"approximate": "tanh"}, 20),
        Case("LeakyRelu", [x], {"alpha": 0.3}),
        Case("HardSigmoid", [x], {"alpha": 0.3, "beta": 0.4}),
        Case("Elu", [x], {"alpha": 0.7}),
        Case("Celu", [x], {"alpha": 0.7}),
        Case("Clip", [x, s(-1.5), s(2.25)], constant=(1, 2)),
        Case("Clip", [x, None, s(0.5)], constant=(2,)),
        Case("Clip", [x]),
        Case("Clip", [x], {"min": 0.0, "max": 3.0}, 6),
        Case("PRelu", [x, f(4, 1)]),
        Case("PRelu", [x, f(1)]),
        Case("Softmax", [x], {"axis": 1}),
        Case("Softmax", [x], {"axis": 1}, 11),
        Case("LogSoftmax", [x], {"axis": 0}),
        Case("LogSoftmax", [x], opset=11),
    ]


def elementwise_cases() -> list[Case]:
    x, y = f(3, 4, 5), f(4, 1)
    positive = f(3, 4, low=0.2, high=3)
    inside = f(3, 4, low=-0.9, high=0.9)
    special = np.array([1.0, np.nan, np.inf, -np.inf], np.float32)
    return [
        *(Case(op, [x, y]) for op in ("Add", "Sub", "Mul", "Div")),
        *(Case(op, [i(7, -7, 5), i(2, 2, -3)], rough=True) for op in ("Add", "Sub", "Mul", "Div")),
        *(Case(op, [x, f(3, 4, 1), f(5)]) for op in ("Min", "Max", "Sum", "Mean")),
        *(Case(op, [i(1, 2, 3), i(3, 2, 1)], rough=True) for op in ("Equal", "Greater", "Less", "Max", "Min")),
        *(Case(op, [f(3, 4), f(4)], rough=True) for op in ("GreaterOrEqual", "LessOrEqual", "Greater", "Less")),
        *(Case(op, [b(3, 4), b(4)], rough=True) for op in ("And", "Or", "Xor")),
        Case("Not", [b(5)], rough=True),
        Case("Pow", [positive, s(2.5)], constant=(1,)),
        Case("Pow", [positive, f(4)]),
        Case("Pow", [f(3, 4), s(2, np.int64)], rough=False),
        Case("Mod", [i(7, -7, 5), i(3, 3, -3)], rough=True),
        Case("Mod", [f(6), f(6, low=1, high=2)], {"fmod": 1}, rough=True),
        Case("Where", [b(3, 4), f(3, 4), f(4)]),
        Case("IsNaN", [special], rough=True),
        Case("IsInf", [special], rough=True),
        Case("IsInf", [special], {"detect_negative": 0}, rough=True),
        *(Case(op, [f(3, 5)]) for op in ("Abs", "Cos", "Exp", "Neg", "Sin", "Cosh", "Sinh", "Atan", "Asinh")),
        *(Case(op, [positive]) for op in ("Log", "Sqrt", "Reciprocal")),
        *(Case(op, [inside]) for op in ("Acos", "Asin", "Atanh", "Tan")),
        Case("Acosh", [f(3, 4, low=1.2, high=3)]),
        *(Case(op, [f(3, 5)], rough=True) for op in ("Ceil", "Floor", "Sign")),
        Case("Round", [np.array([0.5, 1.5, -0.5, 2.3, -2.7], np.float32)], rough=True),
    ]


def shape_cases() -> list[Case]:
    x = f(2, 3, 4)
    return [
        Case("Reshape", [x, i(0, -1, 2)]),
        Case("Reshape", [f(2, 0), i(0, 5)], {"allowzero": 1}, rough=True),
        Case("Flatten", [f(2, 3, 4, 5)], {"axis": 2}),
        Case("Flatten", [x], {"axis": 0}),
        Case("Flatten", [f(2, 3, 4, 5)], {"axis": -1}),
        Case("Squeeze", [f(1, 3, 1, 4)]),
        Case("Squeeze", [f(1, 3, 1, 4), i(-2)]),
        Case("Squeeze", [f(1, 3, 1, 4)], {"axes": [0]}, 11),
        Case("Unsqueeze", [x, i(0, -1)]),
        Case("Unsqueeze", [x], {"axes": [1, 2]}, 11),
        Case("Transpose", [x]),
        Case("Transpose", [x], {"perm": [1, 0, 2]}),
        Case("Expand", [f(3, 1), i(2, 1, 4)]),
        Case("Tile", [x, i(1, 2, 3)]),
        Case("Concat", [f(2, 3), f(2, 1), f(2, 4)], {"axis": -1}),
        Case("Split", [f(7, 2), i(3, 4)], {"axis": 0}, results=2),
        Case("Split", [f(2, 6)], {"axis": 1}, 13, results=3),
        Case("Split", [f(2, 6)], {"axis": 1, "split": [2, 4]}, 11, results=2),
        Case("Split", [f(7, 2)], {"num_outputs": 3}, 18, results=3),
        Case("Shape", [x], rough=True),
        Case("Shape", [x], {"start": -2, "end": 3}, rough=True),
        Case("Size", [x], rough=True),
        Case("Identity", [x]),
        Case("Cast", [x], {"to": TensorProto.INT64}, rough=True),
        Case("Cast", [i(0, 2, 3)], {"to": TensorProto.FLOAT}, rough=True),
        Case("Cast", [i(0, 2, 3)], {"to": TensorProto.BOOL}, rough=True),
        Case("CastLike", [x, i(1)], rough=True),
        Case("Constant", [], {"value": tensor([1.5, 2.5], TensorProto.FLOAT)}, rough=True),
        Case("Constant", [], {"value_ints": [3, 4]}, rough=True),
        Case("ConstantOfShape", [i(2, 3)], rough=True),
        Case("ConstantOfShape", [i(2, 3)], {"value": tensor([7], TensorProto.INT64)}, rough=True),
        Case("Range", [s(2, np.int64), s(9, np.int64), s(3, np.int64)], rough=True),
        Case("Dropout", [x]),
    ]


def indexing_cases() -> list[Case]:
    x = f(4, 5, 6)
    return [
        Case("Slice", [x, i(1, -3), i(4, 100), i(0, 2), i(2, 1)]),
        Case("Slice", [x, i(-1, 4), i(-100, 0), i(1, 2), i(-2, -1)]),
        Case("Slice", [x, i(1), i(3)]),
        Case("Slice", [x, i(3), i(1)], rough=True),
        Case("Slice", [x], {"starts": [1, 2], "ends": [3, 5], "axes": [0, 2]}, 9),
        Case("Gather", [x, i(0, -1, 2)], {"axis": 1}),
        Case("Gather", [x, np.array([[0, 1], [3, 2]])]),
        Case("Gather", [i(5, 6, 7), s(1, np.int64)], rough=True),
        Case("GatherElements", [f(3, 4), np.array([[0, -1, 2, 1]] * 3)], {"axis": 1}),
        Case("GatherND", [x, np.array([[0, 1], [3, -1]])]),
        Case("GatherND", [f(2, 3, 4), np.array([[1], [2]])], {"batch_dims": 1}),
        Case("ScatterElements", [f(3, 4), np.array([[0, 2, 1, 1]]), f(1, 4)], {"axis": 0}),
        Case("ScatterElements", [f(3, 4), np.array([[0, -1]]), f(1, 2)], {"axis": 1, "reduction": "add"}, 18),
        Case("ScatterND", [x, np.array([[0, 1], [3, 2]]), f(2, 6)]),
        Case("ScatterND", [f(6), np.array([[0], [3], [0]]), f(3)], {"reduction": "add"}, 18),
        Case("Trilu", [f(2, 4, 5), s(1, np.int64)]),
        Case("Trilu", [f(4, 4)], {"upper": 0}),
        Case("TopK", [f(3, 6), i(2)], results=2),
        Case("TopK", [f(6, 3), i(2)], {"axis": 0, "largest": 0}, results=2),
        Case("TopK", [np.array([1, 3, 3, 2], np.float32), i(2)], results=2, rough=True),
        Case("OneHot", [i(0, -1, 5), s(4, np.int64), f(2)], {"axis": 0}),
        Case("CumSum", [f(3, 5), s(1, np.int64)]),
        Case("CumSum", [f(3, 5), s(0, np.int64)], {"reverse": 1, "exclusive": 1}),
        Case("ArgMax", [f(3, 5)], {"axis": 1}, rough=True),
        Case("ArgMax", [np.array([1, 3, 3, 2], np.float32)], {"keepdims": 0}, rough=True),
        Case("ArgMax", [np.array([1, 3, 3, 2], np.float32)], {"select_last_index": 1}, rough=True),
        Case("ArgMin", [f(3, 5)], {"axis": -1, "keepdims": 0}, rough=True),
        Case("NonZero", [b(3, 4)], rough=True),
    ]


def reduce_cases() -> list[Case]:
    x = f(3, 4, 5, low=0.5, high=2)
    old = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum")
    old += ("ReduceLogSumExp", "ReduceSumSquare")
    cases = [Case("ReduceSum", [x, i(-1)]), Case("ReduceSum", [x], {"noop_with_empty_axes": 1})]
    for op in old:
        cases.append(Case(op, [x], {"axes": [0, -1], "keepdims": 0}))
        cases.append(Case(op, [x], {}))
        cases.append(Case(op, [x, i(1, 2)], {}, 18))
    return [*cases, Case("ReduceMean", [i(1, 2, 4)], rough=True), Case("ReduceProd", [i(1, 2, 4)], rough=True)]


def space_cases() -> list[Case]:
    x = f(1, 4, 6, 5)
    cases = [
        Case("Pad", [f(3, 4), i(1, 0, 0, 2), s(0.5)], constant=(2,)),
        Case("Pad", [f(3, 4), i(-1, 0, 1, -2)]),
        Case("Pad", [f(3, 4), i(1, 2), None, i(-1)], opset=18),
        Case("Pad", [f(3, 4)], {"pads": [0, 1, 2, 0], "value": 1.5}, 10),
        *(Case("Pad", [x, i(0, 0, 2, 1, 0, 0, 1, 3)], {"mode": mode}) for mode in ("reflect", "edge")),
        Case("Pad", [x, i(0, 0, 2, 1, 0, 0, 1, 3)], {"mode": "wrap"}, 19),
        Case("DepthToSpace", [f(1, 8, 2, 3)], {"blocksize": 2}),
        Case("DepthToSpace", [f(1, 8, 2, 3)], {"blocksize": 2, "mode": "CRD"}),
        Case("SpaceToDepth", [f(1, 2, 4, 6)], {"blocksize": 2}),
        Case("Upsample", [x, np.array([1, 1, 2, 3], np.float32)], opset=9),
        Case("Resize", [x, np.array([1, 1, 2, 1.5], np.float32)], {"mode": "linear"}, 10),
    ]
    double, part = np.array([1, 1, 2, 2], np.float32), np.array([1, 1, 0.7, 1.6], np.float32)
    for coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        for mode in ("nearest", "linear", "cubic"):
            for scales in (double, part):
                attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
                cases.append(Case("Resize", [x, None, scales], attributes, constant=(2,)))
    asymmetric = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    cases += [
        Case("Resize", [x, None, double], {**asymmetric, "nearest_mode": rule}, constant=(2,))
        for rule in ("floor", "ceil", "round_prefer_ceil", "round_prefer_floor")
    ]
    return [
        *cases,
        Case("Resize", [x, None, None, i(1, 4, 9, 7)], {"mode": "linear"}),
        Case("Resize", [x, None, None, i(9, 7)], {"mode": "linear", "axes": [2, 3]}, 18),
        Case("Resize", [x, None, part], {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}, constant=(2,)),
    ]


def recurrent_cases() -> list[Case]:
    time, batch, size, hidden = 4, 2, 3, 5
    cases = []
    for op, gates, states in (("RNN", 1, 1), ("GRU", 3, 1), ("LSTM", 4, 2)):
        for direction, ways in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
            operands = [f(time, batch, size), f(ways, gates * hidden, size, low=-1, high=1)]
            operands += [f(ways, gates * hidden, hidden, low=-1, high=1), f(ways, 2 * gates * hidden, low=-1, high=1)]
            first = [f(ways, batch, hidden) for _ in range(states)]
            attributes = {"hidden_size": hidden, "direction": direction}
            cases.append(Case(op, operands, attributes, results=1 + states))
            cases.append(Case(op, [*operands, None, *first], attributes, results=1 + states))
            cases.append(Case(op, [*operands, i(4, 2, dtype=np.int32), *first], attributes, results=1 + states))
        cases.append(Case(op, operands[:3], attributes, results=1 + states))
    gru = next(case for case in cases if case.op == "GRU" and len(case.operands) > 5)
    cases.append(Case("GRU", gru.operands, {**gru.attributes, "linear_before_reset": 1}, results=2))
    lstm = next(case for case in cases if case.op == "LSTM" and len(case.operands) > 6)
    return [*cases, Case("LSTM", [*lstm.operands, f(1, 3 * hidden)], lstm.attributes, results=3)]


def quantization_cases() -> list[Case]:
    x = f(3, 4, low=-3, high=5)
    scales, zeros = f(4, low=0.01, high=0.04), RNG.integers(90, 160, 4).astype(np.uint8)
    steps = RNG.integers(0, 255, (3, 4)).astype(np.uint8)
    return [
        Case("QuantizeLinear", [x, s(0.02), s(100, np.uint8)], rough=True, constant=(1, 2)),
        Case("QuantizeLinear", [x, s(0.02), s(0, np.int8)], rough=True, constant=(1, 2)),
        Case("QuantizeLinear", [x, scales, zeros], {"axis": 1}, rough=True, constant=(1, 2)),
        Case("QuantizeLinear", [x, s(0.02)], rough=True, constant=(1,)),
        Case("DequantizeLinear", [steps, s(0.02), s(100, np.uint8)], constant=(1, 2)),
        Case("DequantizeLinear", [steps, scales, zeros], {"axis": -1}, constant=(1, 2)),
        Case("DequantizeLinear", [steps.view(np.int8), scales.repeat(3).reshape(4, 3).T.copy()[:2]],
             {"axis": 0, "block_size": 2}, 21, constant=(1,)),
    ]  # fmt: skip


CASES = [
    *conv_cases(), *pool_cases(), *linear_cases(), *normalization_cases(), *activation_cases(), *elementwise_cases(),
    *shape_cases(), *indexing_cases(), *reduce_cases(), *space_cases(), *recurrent_cases(), *quantization_cases(),
]  # fmt: skip


def model_of(case: Case):
    """A model of one node, and what to feed it."""
    names = ["" if value is None else f"operand.{n}/x" for n, value in enumerate(case.operands)]
    results = [f"result.{n}" for n in range(case.results)]
    node = helper.make_node(case.op, names, results, name="the/node", **case.attributes)
    kinds = {
        name: helper.np_dtype_to_tensor_dtype(v.dtype) for name, v in zip(names, case.operands, strict=True) if name
    }
    stored = {names[n] for n in case.constant}
    given = {n: v for n, v in zip(names, case.operands, strict=True) if n and n not in stored}
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, kinds[name], value.shape) for name, value in given.items()],
        [helper.make_empty_tensor_value_info(name) for name in results],
        [
            helper.make_tensor(name, kinds[name], value.shape, value.tobytes(), raw=True)
            for name, value in zip(names, case.operands, strict=True)
            if name in stored
        ],
    )
    ir_version = 8 if case.opset < 19 else 10 if case.opset < 23 else 11
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=ir_version), given


def expected(model, feeds) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_equals_onnx_runtime(case: Case) -> None:
    model, feeds = model_of(case)
    reference = expected(model, feeds)
    with torch.no_grad():
        own = list(TorchGraph(model)(feeds).values())
    assert len(own) == len(reference)
    for mine, theirs in zip(own, reference, strict=True):
        assert tuple(mine.shape) == theirs.shape
        if theirs.dtype.kind == "f":
            scale = np.abs(theirs[np.isfinite(theirs)]).max(initial=1e-12)
            np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-5, atol=1e-5 * scale)
        else:
            np.testing.assert_array_equal(mine.numpy(), theirs)


@pytest.mark.parametrize("case", [case for case in CASES if not case.rough], ids=str)
def test_gradient_equals_finite_differences(case: Case) -> None:
    model, feeds = model_of(case)
    graph = TorchGraph(model, dtype=torch.float64)
    point = {
        name: torch.from_numpy(value.copy()).double() if value.dtype == np.float32 else value
        for name, value in feeds.items()
    }
    moved = [value for value in point.values() if isinstance(value, torch.Tensor)] + list(graph.weights.values())
    movable = [value.requires_grad_() for value in moved if value.numel()]
    generator = torch.Generator().manual_seed(3)
    ways = [torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in movable]
    mixing: list[torch.Tensor] = []

    def loss() -> torch.Tensor:
        results = [result for result in graph(point).values() if result.is_floating_point()]
        while len(mixing) < len(results):
            mixing.append(torch.randn(results[len(mixing)].shape, generator=generator, dtype=torch.float64))
        return sum((result * mix).sum() for result, mix in zip(results, mixing, strict=True))

    total = loss()
    slopes = torch.autograd.grad(total, movable, allow_unused=True)
    slope = sum((g * way).sum() for g, way in zip(slopes, ways, strict=True) if g is not None)
    values = []
    step = 1e-6
    with torch.no_grad():
        for sign in (step, -2 * step):
            for value, way, g in zip(movable, ways, slopes, strict=True):
                if g is not None:
                    value.add_(sign * way)
            values.append(loss())
    numeric = (values[0] - values[1]) / (2 * step)
    assert float(slope) == pytest.approx(float(numeric), rel=1e-5, abs=1e-6)


def test_every_operator_has_a_case() -> None:
    assert {case.op for case in CASES} == set(OPERATORS)


def test_every_operator_with_a_gradient_is_checked() -> None:
    flat = {"And", "ArgMax", "ArgMin", "Cast", "CastLike", "Ceil", "Constant", "ConstantOfShape", "Equal", "Floor"}
    flat |= {
        "Greater",
        "GreaterOrEqual",
        "IsInf",
        "IsNaN",
        "Less",
        "LessOrEqual",
        "Mod",
        "NonZero",
        "Not",
        "Or",
        "Range",
    }
    flat |= {"Round", "Shape", "Sign", "Size", "Xor"}
    straight_through = {"QuantizeLinear"}  # see test_torch_execution_quantized
    assert {case.op for case in CASES if not case.rough} == set(OPERATORS) - flat - straight_through

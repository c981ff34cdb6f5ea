"""A deployed model computed in exact integer arithmetic, written here without any of the project's code.

Between a Quantize and the next every number is an integer times a scale: products are summed in int64, and only the
result is scaled and rounded, once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper


@dataclass
class Integers:
    """Integers with their grid; ``shape`` makes scales and zero points broadcast against them."""

    values: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    axis: int

    @property
    def centred(self) -> np.ndarray:
        return self.values.astype(np.int64) - self._spread(self.zero.astype(np.int64))

    @property
    def real(self) -> np.ndarray:
        return self.centred * self._spread(self.scale.astype(np.float64))

    def _spread(self, parameter: np.ndarray) -> np.ndarray:
        if parameter.ndim == 0 or parameter.size == 1:
            return parameter.reshape(())
        return parameter.reshape([-1 if i == self.axis else 1 for i in range(self.values.ndim)])


def simulate(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of a QDQ model."""
    env: dict[str, np.ndarray | Integers] = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    env.update(feeds)
    for node in model.graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        env[node.output[0]] = OPERATORS[node.op_type](attributes, *(env[name] if name else None for name in node.input))
    return {output.name: real(env[output.name]) for output in model.graph.output}


def real(value: np.ndarray | Integers) -> np.ndarray:
    return value.real if isinstance(value, Integers) else np.asarray(value, np.float64)


def quantize(_: dict, x: object, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    # The runtime divides in float32; what it divides was scaled in float32 too.
    quotient = real(x).astype(np.float32) / scale
    bounds = np.iinfo(zero.dtype)
    return np.clip(np.rint(quotient).astype(np.float64) + zero, bounds.min, bounds.max).astype(zero.dtype)


def dequantize(attributes: dict, values: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None) -> Integers:
    return Integers(values, scale, np.zeros_like(scale, np.int64) if zero is None else zero, attributes.get("axis", 1))


def cast(attributes: dict, x: np.ndarray) -> np.ndarray:
    return x.astype(helper.tensor_dtype_to_np_dtype(attributes["to"]))


def scaled(sums: np.ndarray, x: Integers, w: Integers, axis: int) -> np.ndarray:
    scales = (x.scale * w.scale).astype(np.float64)
    return sums * (scales.reshape([-1 if i == axis else 1 for i in range(sums.ndim)]) if scales.size > 1 else scales)


def convolution(attributes: dict, x: Integers, w: Integers, b: Integers | None = None) -> np.ndarray:
    group, strides = attributes.get("group", 1), attributes.get("strides", [1, 1])
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    padded = np.pad(x.centred, ((0, 0), (0, 0), (top, bottom), (left, right)))
    kernel = w.centred
    rows = (padded.shape[2] - kernel.shape[2]) // strides[0] + 1
    columns = (padded.shape[3] - kernel.shape[3]) // strides[1] + 1
    sums = np.zeros((len(padded), len(kernel), rows, columns), np.int64)
    inside, outside = padded.shape[1] // group, len(kernel) // group
    for g in range(group):
        part = padded[:, g * inside : (g + 1) * inside]
        own = slice(g * outside, (g + 1) * outside)
        for i in range(kernel.shape[2]):
            for j in range(kernel.shape[3]):
                window = part[:, :, i : i + rows * strides[0] : strides[0], j : j + columns * strides[1] : strides[1]]
                sums[:, own] += np.einsum("nchw,oc->nohw", window, kernel[own, :, i, j])
    if b is not None:
        sums += b.values.astype(np.int64).reshape(1, -1, 1, 1)
    return scaled(sums, x, w, 1)


def gemm(attributes: dict, x: Integers, w: Integers, b: Integers | None = None) -> np.ndarray:
    sums = x.centred @ (w.centred.T if attributes.get("transB", 0) else w.centred)
    return scaled(sums if b is None else sums + b.values.astype(np.int64), x, w, 1)


def matmul(_: dict, x: Integers, w: Integers) -> np.ndarray:
    sums = x.centred @ w.centred
    return scaled(sums, x, w, sums.ndim - 1)


def average(attributes: dict, x: Integers) -> np.ndarray:
    size, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    windows = np.lib.stride_tricks.sliding_window_view(x.centred, size, axis=(2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1]]
    return windows.sum((-1, -2)) / np.prod(size) * x.scale.astype(np.float64)


def largest(attributes: dict, x: Integers) -> np.ndarray:
    size, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    windows = np.lib.stride_tricks.sliding_window_view(x.real, size, axis=(2, 3))
    return windows[:, :, :: strides[0], :: strides[1]].max((-1, -2))


OPERATORS: dict[str, Callable[..., object]] = {
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "Cast": cast,
    "Conv": convolution,
    "Gemm": gemm,
    "MatMul": matmul,
    "AveragePool": average,
    "MaxPool": largest,
    "GlobalAveragePool": lambda _, x: x.centred.mean((2, 3), keepdims=True) * x.scale.astype(np.float64),
    "Add": lambda _, a, b: real(a) + real(b),
    "Mul": lambda _, a, b: real(a) * real(b),
    "Relu": lambda _, x: np.maximum(real(x), 0),
    "Clip": lambda _, x, low, high: np.clip(real(x), low, high),
    "Concat": lambda attributes, *xs: np.concatenate([real(x) for x in xs], attributes["axis"]),
    "Flatten": lambda _, x: real(x).reshape(len(real(x)), -1),
    "Transpose": lambda attributes, x: real(x).transpose(attributes["perm"]),
}

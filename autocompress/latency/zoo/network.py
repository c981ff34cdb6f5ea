"""Builds networks with random weights, in float, in integers, or mixed.

Integer layers are written as QuantizeLinear/DequantizeLinear pairs around the operators, in the places where runtimes
fuse them.  Weights and scales are arbitrary: the networks are there to be timed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from autocompress.latency.zoo.activations import ACTIVATIONS
from autocompress.latency.zoo.variant import Variant
from autocompress.latency.zoo.writer import GraphWriter, Value

__all__ = ["Network", "Value", "Variant"]

_SCALE = np.asarray(6 / 255, np.float32)
_WEIGHT_SCALE = np.asarray(0.01, np.float32)
_MOVING = frozenset({"MaxPool", "Reshape", "Flatten", "Transpose", "Resize", "Slice", "Squeeze"})


class Network(GraphWriter):
    """A network under construction.

    Args:
        variant: how layers are built.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self._rng = np.random.default_rng(variant.seed)
        self._quantized: dict[str, str] = {}
        self._stored: dict[str, tuple[str, npt.NDArray[np.generic]]] = {}
        self._lowest: set[str] = set()
        self._widths: dict[int, int] = {}

    def width(self, channels: int) -> int:
        """Channels as this variant has them; equal numbers stay equal, so that residual sums fit."""
        if channels not in self._widths:
            factor = self.variant.width
            if self.variant.uneven:
                factor *= float(self._rng.uniform(0.45, 1.05))
            self._widths[channels] = channels if factor == 1.0 else max(2, round(channels * factor))
        return self._widths[channels]

    def is_integer(self) -> bool:
        """Draws whether the next layer is integer."""
        share = self.variant.inline_share
        return share >= 1.0 or (share > 0.0 and bool(self._rng.random() < share))

    def op(
        self,
        op_type: str,
        inputs: Sequence[Value],
        shape: Sequence[int],
        *,
        constants: Sequence[npt.NDArray[np.generic]] = (),
        integer: bool = False,
        requantize: bool = True,
        **attributes: object,
    ) -> Value:
        """Adds an operator on activations, in float or between integers.

        Args:
            op_type: its type.
            inputs: activations, first in the operand list.
            shape: of its result.
            constants: further operands.
            integer: whether it computes on, or moves, integers.
            requantize: whether an integer operator's result goes back to integers at once.
            attributes: its attributes.
        """
        names = [self._dequantized(v) if integer else v.name for v in inputs]
        names += [self._constant(values) for values in constants]
        result = Value(self._add(op_type, names, **attributes), tuple(shape))
        if not (integer and requantize):
            return result
        # What only moves integers keeps their zero point.
        lowest = op_type in _MOVING and names[0] in self._lowest
        return Value(self._dequantized(result, lowest=lowest), result.shape)

    def conv(
        self,
        x: Value,
        channels: int,
        kernel: int | tuple[int, ...] = 1,
        *,
        stride: int = 1,
        group: int = 1,
        act: str | None = None,
        dilation: int = 1,
        padding: int | None = None,
    ) -> Value:
        """Adds a convolution over one, two or three dimensions with bias and activation.

        Args:
            x: of shape (batch, channels, *plane).
            channels: of the result.
            kernel: window; one number for all dimensions.
            stride: step in every dimension.
            group: groups of channels.
            act: activation after it.
            dilation: distance of the window's points.
            padding: zeros on each side; as many as keep the size of a strideless result when left out.
        """
        window = self._window(x, kernel)
        integer = self.is_integer()
        shape = (channels, x.shape[1] // group, *window)
        operands = [self._dequantized(x) if integer else self._kept_float(x, group * shape[1])]
        operands += self._weight_and_bias(shape, 0, integer)
        pads = [dilation * (k - 1) // 2 if padding is None else padding for k in window]
        attributes: dict[str, object] = {
            "kernel_shape": list(window), "strides": [stride] * len(window), "pads": [*pads, *pads], "group": group,
        }  # fmt: skip
        if dilation > 1:
            attributes["dilations"] = [dilation] * len(window)
        name = self._add("Conv", operands, **attributes)
        sizes = zip(x.shape[2:], pads, window, strict=True)
        plane = ((s + 2 * p - dilation * (k - 1) - 1) // stride + 1 for s, p, k in sizes)
        return self.activate(Value(name, (x.shape[0], channels, *plane)), act, integer=integer)

    def conv_transpose(
        self,
        x: Value,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        group: int = 1,
        act: str | None = None,
    ) -> Value:
        """Adds a transposed convolution with bias and activation; always in float, except where a variant is placed."""
        window = self._window(x, kernel)
        shape = (x.shape[1], channels // group, *window)
        weight = self.constant((self._rng.standard_normal(shape) * 0.1).astype(np.float32))
        bias = self.constant(self._rng.standard_normal(channels).astype(np.float32))
        plane = ((s - 1) * stride - 2 * padding + k for s, k in zip(x.shape[2:], window, strict=True))
        result = self.op("ConvTranspose", [x, weight, bias], (x.shape[0], channels, *plane), kernel_shape=list(window),
                         strides=[stride] * len(window), pads=[padding] * 2 * len(window), group=group)  # fmt: skip
        return self.activate(result, act, integer=False)

    def dense(self, x: Value, features: int, act: str | None = None, *, bias: bool = True) -> Value:
        """Adds a matrix product with weights and bias: Gemm on two dimensions, MatMul and Add on more."""
        if not bias:
            return self._plain_product(x, features, act)
        integer = self.is_integer()
        inner = x.shape[-1]
        shape = (*x.shape[:-1], features)
        if integer and self.variant.dynamic:
            return self.activate(Value(self._dynamic_product(x, features), shape), act, integer=False)
        source = self._dequantized(x) if integer else x.name
        if len(x.shape) == 2:
            source = source if integer else self._kept_float(x, inner)
            name = self._add("Gemm", [source, *self._weight_and_bias((features, inner), 0, integer)], transB=1)
            return self.activate(Value(name, shape), act, integer=integer)
        weight, biases = self._weight_and_bias((inner, features), 1, integer, float_bias=True)
        product = Value(self._add("MatMul", [source, weight]), shape)
        if integer:
            product = Value(self._dequantized(product), shape)
        return self.activate(Value(self._add("Add", [product.name, biases]), shape), act, integer=False)

    def activate(self, x: Value, act: str | None, *, integer: bool) -> Value:
        """Adds an activation; an integer layer is requantized after a fused one and around any other."""
        if act in ("relu", "relu6"):
            bounds = [np.float32(0), np.float32(6)] if act == "relu6" else []
            names = [x.name, *(self._constant(np.asarray(b)) for b in bounds)]
            x = Value(self._add("Clip" if bounds else "Relu", names), x.shape)
            return Value(self._dequantized(x, lowest=True), x.shape) if integer else x
        if integer:
            x = Value(self._dequantized(x), x.shape)
        if act is None:
            return x
        return ACTIVATIONS[act](self, x, integer)

    def lookup(self, table: npt.NDArray[np.float32], indices: Value) -> Value:
        """Adds a Gather of rows of a table."""
        name = self._add("Gather", [self._constant(table), indices.name])
        return Value(name, (*indices.shape, table.shape[1]))

    def _plain_product(self, x: Value, features: int, act: str | None) -> Value:
        weight = self._rng.standard_normal((x.shape[-1], features)) / np.sqrt(x.shape[-1])
        operand = self.constant(weight.astype(np.float32))
        return self.activate(self.op("MatMul", [x, operand], (*x.shape[:-1], features)), act, integer=False)

    @staticmethod
    def _window(x: Value, kernel: int | tuple[int, ...]) -> tuple[int, ...]:
        return kernel if isinstance(kernel, tuple) else (kernel,) * (len(x.shape) - 2)

    def _dequantized(self, x: Value, *, lowest: bool = False) -> str:
        """The name of ``x`` after a Q/DQ pair, which is added once."""
        if x.name in self._quantized:
            return self._quantized[x.name]
        dtype = np.dtype(self.variant.activation_dtype)
        smallest = int(np.iinfo(dtype).min)
        zero = np.asarray(smallest if lowest else smallest + 128, dtype)
        parameters = [self._constant(_SCALE), self._constant(zero)]
        quantized = self._add("QuantizeLinear", [x.name, *parameters])
        name = self._add("DequantizeLinear", [quantized, *parameters])
        self._quantized[x.name] = self._quantized[name] = name
        self._stored[name] = (quantized, zero)
        if lowest:
            self._lowest.add(name)
        return name

    def _kept_float(self, x: Value, channels: int) -> str:
        """The name of ``x`` for a layer that stays float: dequantized per channel, lest the runtime quantize it."""
        if x.name not in self._stored:
            return x.name
        quantized, zero = self._stored[x.name]
        scales = np.full(channels, float(_SCALE), np.float32)
        parameters = [self._constant(scales), self._constant(np.full(channels, zero))]
        return self._add("DequantizeLinear", [quantized, *parameters], axis=1)

    def _weight_and_bias(
        self, shape: tuple[int, ...], axis: int, integer: bool, *, float_bias: bool = False
    ) -> tuple[str, str]:
        channels = shape[axis]
        float_biases = self._rng.standard_normal(channels).astype(np.float32)
        if not integer:
            weight = self._constant((self._rng.standard_normal(shape) * 0.1).astype(np.float32))
            return weight, self._constant(float_biases)
        weight = self._integer_weight(shape, axis)
        if float_bias:
            return weight, self._constant(float_biases)
        count = channels if self.variant.per_channel else 1
        biases = self._rng.integers(-1000, 1000, channels).astype(np.int32)
        scale = np.full(count, float(_SCALE * _WEIGHT_SCALE), np.float32)
        return weight, self._dequantized_weight(biases, scale, np.zeros(count, np.int32), 0)

    def _integer_weight(self, shape: tuple[int, ...], axis: int) -> str:
        dtype = np.dtype(self.variant.weight_dtype)
        count = shape[axis] if self.variant.per_channel else 1
        zero = 0 if dtype == np.int8 else 128
        values = (self._rng.integers(-100, 100, shape) + zero).astype(dtype)
        return self._dequantized_weight(
            values, np.full(count, _WEIGHT_SCALE, np.float32), np.full(count, zero, dtype), axis
        )

    def _dequantized_weight(
        self,
        values: npt.NDArray[np.generic],
        scales: npt.NDArray[np.generic],
        zeros: npt.NDArray[np.generic],
        axis: int,
    ) -> str:
        if len(scales) == 1:
            names = [self._constant(v) for v in (values, scales.reshape(()), zeros.reshape(()))]
            return self._add("DequantizeLinear", names)
        return self._add("DequantizeLinear", [self._constant(v) for v in (values, scales, zeros)], axis=axis)

    def _dynamic_product(self, x: Value, features: int) -> str:
        node = f"DynamicQuantizeLinear_{len(self._nodes)}"
        parts = [f"{node}_{part}" for part in ("quantized", "scale", "zero")]
        self._nodes.append(helper.make_node("DynamicQuantizeLinear", [x.name], parts, name=node))
        shape = (x.shape[-1], features)
        weight = self._constant(self._rng.integers(-100, 100, shape).astype(np.int8))
        zeros, scales = np.zeros(features, np.int8), np.full(features, _WEIGHT_SCALE, np.float32)
        product = self._add("MatMulInteger", [parts[0], weight, parts[2], self._constant(zeros)])
        product = self._add("Cast", [product], to=TensorProto.FLOAT)
        product = self._add("Mul", [product, self._add("Mul", [parts[1], self._constant(scales)])])
        return self._add("Add", [product, self._constant(self._rng.standard_normal(features).astype(np.float32))])

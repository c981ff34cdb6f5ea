"""Weightless operators with the shapes of their results, in float; placed variants make integers of them later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from autocompress.latency.zoo.network import Network, Value

_BY_OPERAND = frozenset({"ReduceSum"})  # whose axes are an operand in the operator set in use


def unary(net: Network, op_type: str, x: Value, **attributes: object) -> Value:
    """An operator that keeps the shape."""
    return net.op(op_type, [x], x.shape, **attributes)  # type: ignore[arg-type]


def binary(net: Network, op_type: str, left: Value, right: Value) -> Value:
    """An operator on two tensors that are stretched to one shape."""
    return net.op(op_type, [left, right], np.broadcast_shapes(left.shape, right.shape))


def with_scalar(net: Network, op_type: str, x: Value, number: float, *, first: bool = False) -> Value:
    """An operator on a tensor and a number, which comes second unless ``first``."""
    constant = net.constant(np.asarray(number, np.float32))
    return binary(net, op_type, constant, x) if first else binary(net, op_type, x, constant)


def with_vector(net: Network, op_type: str, x: Value, shape: Sequence[int], *, first: bool = False) -> Value:
    """An operator on a tensor and a constant tensor of the given shape."""
    constant = net.constant(np.linspace(0.5, 1.5, int(np.prod(shape)), dtype=np.float32).reshape(shape))
    return binary(net, op_type, constant, x) if first else binary(net, op_type, x, constant)


def reshape(net: Network, x: Value, *shape: int) -> Value:
    """The same elements in another shape, one size of which may be -1."""
    known = -int(np.prod(shape)) if -1 in shape else 1
    whole = tuple(int(np.prod(x.shape)) // known if size == -1 else size for size in shape)
    return net.op("Reshape", [x], whole, constants=[np.asarray(whole, np.int64)])


def transpose(net: Network, x: Value, *perm: int) -> Value:
    """Axes in another order."""
    return net.op("Transpose", [x], [x.shape[i] for i in perm], perm=list(perm))


def unsqueeze(net: Network, x: Value, axis: int) -> Value:
    """A further axis of size one."""
    shape = (*x.shape[:axis], 1, *x.shape[axis:])
    return net.op("Unsqueeze", [x], shape, constants=[np.asarray([axis], np.int64)])


def squeeze(net: Network, x: Value, axis: int) -> Value:
    """Without an axis of size one."""
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    return net.op("Squeeze", [x], shape, constants=[np.asarray([axis], np.int64)])


def expand(net: Network, x: Value, *shape: int) -> Value:
    """Stretched along axes of size one."""
    return net.op("Expand", [x], shape, constants=[np.asarray(shape, np.int64)])


def concat(net: Network, parts: Sequence[Value], axis: int) -> Value:
    """Tensors one after the other."""
    first = parts[0].shape
    shape = (*first[:axis], sum(p.shape[axis] for p in parts), *first[axis + 1 :])
    return net.op("Concat", parts, shape, axis=axis)


def cut(net: Network, x: Value, axis: int, start: int, end: int, step: int = 1) -> Value:
    """The positions ``start``, ``start + step``, ... before ``end`` of one axis."""
    shape = (*x.shape[:axis], -(-(end - start) // step), *x.shape[axis + 1 :])
    bounds = [np.asarray([v], np.int64) for v in (start, end, axis, step)]
    return net.op("Slice", [x], shape, constants=bounds)


def take(net: Network, x: Value, axis: int, index: int) -> Value:
    """One position of an axis, which vanishes."""
    position = np.asarray(index, np.int64)
    return net.op("Gather", [x], (*x.shape[:axis], *x.shape[axis + 1 :]), constants=[position], axis=axis)


def pad(net: Network, x: Value, before: Sequence[int], after: Sequence[int], mode: str = "constant") -> Value:
    """More positions before and after, per axis."""
    shape = [b + s + a for b, s, a in zip(before, x.shape, after, strict=True)]
    return net.op("Pad", [x], shape, constants=[np.asarray([*before, *after], np.int64)], mode=mode)


def reduce(net: Network, op_type: str, x: Value, axes: Sequence[int], *, keep: bool = False) -> Value:
    """A reduction over some axes, which stay with size one if ``keep``."""
    shape = [1 if i in axes else s for i, s in enumerate(x.shape) if keep or i not in axes]
    if op_type in _BY_OPERAND:
        return net.op(op_type, [x], shape, constants=[np.asarray(axes, np.int64)], keepdims=int(keep))
    return net.op(op_type, [x], shape, axes=list(axes), keepdims=int(keep))


def product(net: Network, left: Value, right: Value) -> Value:
    """A matrix product of two activations."""
    outer = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    return net.op("MatMul", [left, right], (*outer, left.shape[-2], right.shape[-1]))


def softmax(net: Network, x: Value, axis: int = -1) -> Value:
    """Softmax over one axis."""
    return net.op("Softmax", [x], x.shape, axis=axis)


def cast(net: Network, x: Value, to: int = TensorProto.FLOAT) -> Value:
    """Another element type."""
    return net.op("Cast", [x], x.shape, to=to)


def choose(net: Network, condition: Value, yes: Value, no: Value) -> Value:
    """One of two tensors, position by position."""
    return net.op("Where", [condition, yes, no], np.broadcast_shapes(condition.shape, yes.shape, no.shape))


def integers(net: Network, values: npt.ArrayLike) -> Value:
    """A constant of 64-bit integers."""
    return net.constant(np.asarray(values, np.int64))


def layer_norm(net: Network, x: Value) -> Value:
    """Normalization over the last axis."""
    ones = np.ones(x.shape[-1], np.float32)
    return net.op("LayerNormalization", [x], x.shape, constants=[ones, ones * 0], axis=-1)


def rms_norm(net: Network, x: Value, *, divided: bool = False) -> Value:
    """Root-mean-square normalization over the last axis, spelled out with a division or with a reciprocal."""
    squares = reduce(net, "ReduceMean", with_scalar(net, "Pow", x, 2.0), [len(x.shape) - 1], keep=True)
    root = unary(net, "Sqrt", with_scalar(net, "Add", squares, 1e-6))
    scaled = binary(net, "Div", x, root) if divided else binary(net, "Mul", x, unary(net, "Reciprocal", root))
    return with_vector(net, "Mul", scaled, (x.shape[-1],), first=True)

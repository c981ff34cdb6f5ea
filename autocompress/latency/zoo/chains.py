"""Operators that are rare in any one network, one after the other on one tensor, so that several sizes are seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autocompress.latency.zoo import operators as ops
from autocompress.latency.zoo.blocks import Options
from autocompress.latency.zoo.network import Network, Value

_OF_ONE = ("Neg", "Abs", "Exp", "Reciprocal", "Sqrt", "Log", "Abs", "Sin", "Cos", "Erf", "Softplus", "Elu", "Floor")
_WITH_NUMBER = (("Sub", 0.25), ("Div", 3.0), ("Pow", 2.0), ("Min", 4.0), ("Max", 0.5), ("Mul", 0.5), ("Add", 0.5))
_WITH_VECTOR = ("Add", "Mul", "Sub", "Div", "PRelu")
_REDUCTIONS = ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "ReduceL2")


def _elementwise_chain(net: Network, x: Value, _: int, o: Options) -> Value:
    """Functions of one number, of a number and a constant, of two tensors, and choices; values stay of order one."""
    for op_type in _OF_ONE:
        x = ops.unary(net, op_type, x)
    for op_type, operand in _WITH_NUMBER:
        x = ops.with_scalar(net, op_type, x, operand)
    for op_type in _WITH_VECTOR:
        x = ops.with_vector(net, op_type, x, (x.shape[1], *[1] * (len(x.shape) - 2)))
    x = net.op("Clip", [x], x.shape, constants=[np.asarray(v, np.float32) for v in (-3, 3)])
    y = ops.with_vector(net, "Sub", x, x.shape)
    x = ops.binary(net, "Div", x, ops.with_scalar(net, "Add", ops.binary(net, "Mul", y, y), 1.0))
    number = net.constant(np.asarray(0.5, np.float32))
    x = ops.choose(net, net.op("Greater", [x, number], x.shape), x, number)
    return ops.choose(net, net.op("IsNaN", [x], x.shape), number, x)


def _reduction_chain(net: Network, x: Value, axes: Sequence[int], o: Options) -> Value:
    """What remains of a tensor when each kind of reduction over some axes is taken away from it."""
    for op_type in _REDUCTIONS:
        x = ops.binary(net, "Sub", x, ops.reduce(net, op_type, x, axes, keep=True))
    total = net.op("CumSum", [x], x.shape, constants=[np.asarray(axes[0], np.int64)])
    x = net.activate(ops.binary(net, "Add", x, ops.with_scalar(net, "Mul", total, 0.01)), "tanh", integer=False)
    best = net.op("ArgMax", [x], [1 if i == axes[0] else s for i, s in enumerate(x.shape)], axis=axes[0], keepdims=1)
    return ops.binary(net, "Add", x, ops.with_scalar(net, "Mul", ops.cast(net, best), 0.01))


def _reordered(net: Network, x: Value, permutations: Sequence[Sequence[int]], o: Options) -> Value:
    """One transposition after the other; the shape is restored between them, lest runtimes join them."""
    for permutation in permutations:
        moved = ops.transpose(net, ops.with_scalar(net, "Mul", x, 0.9), *permutation)
        x = ops.reshape(net, moved, *x.shape)
    return x


def _reshaped(net: Network, x: Value, shape: Sequence[int], o: Options) -> Value:
    return ops.reshape(net, x, *shape)


CHAINS: dict[str, Callable[[Network, Value, Any, Options], Value]] = {
    "elementwise_chain": _elementwise_chain,
    "reduction_chain": _reduction_chain,
    "reordered": _reordered,
    "reshaped": _reshaped,
}

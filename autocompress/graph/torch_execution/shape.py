"""Operators that change shape or type, and the integer arithmetic of shapes."""

from __future__ import annotations

import math

import torch
from onnx import TensorProto, helper, numpy_helper

from autocompress.graph.rewrite import constant_tensor
from autocompress.graph.torch_execution.call import Call, Operator, Tensor, numbers, sizes_or_attribute
from autocompress.graph.torch_execution.values import as_tensor


def reshape(call: Call, x: Tensor, shape: Tensor | None = None) -> Tensor:
    """Reshape; 0 keeps a size (unless ``allowzero``), -1 is what remains."""
    wanted = sizes_or_attribute(call, shape, "shape") or []
    if not call.get("allowzero", 0):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return x.reshape(wanted)


def flatten(call: Call, x: Tensor) -> Tensor:
    """Flatten to a matrix."""
    axis = call.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def squeeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Squeeze the given axes, or all of size 1."""
    given = sizes_or_attribute(call, axes, "axes")
    return x.squeeze() if given is None else x.squeeze(tuple(given))


def unsqueeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Unsqueeze; axes count in the result."""
    given = sizes_or_attribute(call, axes, "axes") or []
    rank = x.dim() + len(given)
    for axis in sorted(axis % rank for axis in given):
        x = x.unsqueeze(axis)
    return x


def transpose(call: Call, x: Tensor) -> Tensor:
    """Transpose; axes reversed where no permutation is given."""
    return x.permute(tuple(call.get("perm", range(x.dim() - 1, -1, -1))))


def expand(call: Call, x: Tensor, shape: Tensor) -> Tensor:
    """Expand by broadcasting in both directions."""
    return x.expand(torch.broadcast_shapes(tuple(x.shape), tuple(numbers(shape))))


def tile(call: Call, x: Tensor, repeats: Tensor) -> Tensor:
    """Tile."""
    return x.repeat(numbers(repeats))


def concat(call: Call, *operands: Tensor) -> Tensor:
    """Concat along an axis."""
    return torch.cat(operands, call.get("axis"))


def split(call: Call, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    """Split into given sizes, or evenly; the last part may then be smaller."""
    axis = call.get("axis", 0)
    given = sizes_or_attribute(call, sizes, "split")
    if given is None:
        parts = call.get("num_outputs", call.results)
        return tuple(x.split(-(-x.shape[axis] // parts), axis))
    return tuple(x.split(given, axis))


def shape_of(call: Call, x: Tensor) -> Tensor:
    """Shape, or a part of it."""
    return torch.tensor(list(x.shape)[call.get("start", 0) : call.get("end")], dtype=torch.int64)


def cast(call: Call, x: Tensor) -> Tensor:
    """Cast; float types up to float32 share the type of computation."""
    return _converted(x, call.torch_dtype(call.get("to")))


def cast_like(call: Call, x: Tensor, like: Tensor) -> Tensor:
    """CastLike."""
    return _converted(x, like.dtype)


def constant(call: Call) -> Tensor:
    """Constant in any of its forms."""
    return as_tensor(numpy_helper.to_array(constant_tensor(call.node)), call.dtype)


def constant_of_shape(call: Call, shape: Tensor) -> Tensor:
    """ConstantOfShape."""
    value = call.get("value") or helper.make_tensor("", TensorProto.FLOAT, [1], [0.0])
    return as_tensor(numpy_helper.to_array(value), call.dtype).reshape(()).expand(numbers(shape)).clone()


def value_range(call: Call, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """Range."""
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype, device=start.device)


def dropout(call: Call, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None) -> tuple[Tensor, ...]:
    """Dropout at inference: nothing is dropped."""
    if training is not None and bool(training):
        raise call.refuse("its training mode")
    return x, torch.ones_like(x, dtype=torch.bool)


def _converted(x: Tensor, dtype: torch.dtype) -> Tensor:
    # Torch wraps what lies outside an unsigned type differently on different processors; by way of int64 it is defined.
    if x.is_floating_point() and not dtype.is_floating_point and dtype != torch.bool:
        return x.to(torch.int64).to(dtype)
    return x.to(dtype)


OPERATORS: dict[str, Operator] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
    "Tile": tile,
    "Concat": concat,
    "Split": split,
    "Shape": shape_of,
    "Size": lambda call, x: torch.tensor(x.numel(), dtype=torch.int64),
    "Identity": lambda call, x: x,
    "Cast": cast,
    "CastLike": cast_like,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Range": value_range,
    "Dropout": dropout,
}

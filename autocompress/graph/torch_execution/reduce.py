"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from autocompress.graph.torch_execution.call import Call, Operator, Tensor, sizes_or_attribute

Reduction = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _mean(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    if x.is_floating_point():
        return x.mean(axes, keepdim=keep)
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return torch.div(x.sum(axes, keepdim=keep), count, rounding_mode="trunc").to(x.dtype)


_REDUCTIONS: dict[str, Reduction] = {
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep, dtype=x.dtype),
    "ReduceMean": _mean,
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceProd": _product,
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keepdim=keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keepdim=keep),
}


def _operator(reduction: Reduction) -> Operator:
    def reduce(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
        given = sizes_or_attribute(call, axes, "axes")
        if not given:
            if call.get("noop_with_empty_axes", 0):
                return x
            given = list(range(x.dim()))
        return reduction(x, tuple(given), bool(call.get("keepdims", 1))) if x.dim() else x

    return reduce


OPERATORS: dict[str, Operator] = {name: _operator(reduction) for name, reduction in _REDUCTIONS.items()}

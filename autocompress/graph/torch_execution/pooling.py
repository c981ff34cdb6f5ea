"""Poolings: a window's largest, mean or p-norm, with every rule of padding and rounding."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as functional

from autocompress.graph.torch_execution.call import Call, Operator, Tensor
from autocompress.graph.torch_execution.windows import Windows, padded, windows_of

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEAN = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def max_pool(call: Call, x: Tensor) -> Tensor:
    """MaxPool without indices."""
    if call.wants(1):
        raise call.refuse("the indices of its maxima")
    windows = windows_of(call, call.get("kernel_shape"), tuple(x.shape[2:]))
    lowest = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    x = padded(x, windows.before, _after(call, windows, x), lowest)
    return _MAX[len(windows.kernel)](x, windows.kernel, windows.strides, 0, windows.dilations)


def average_pool(call: Call, x: Tensor) -> Tensor:
    """AveragePool; padding counts where ``count_include_pad`` says so, room added by ``ceil_mode`` never does."""
    windows = windows_of(call, call.get("kernel_shape"), tuple(x.shape[2:]))
    after = _after(call, windows, x)
    means = _means(padded(x, windows.before, after), windows)
    if not any(windows.before) and not any(a > 0 for a in after):
        return means
    counted = x.new_ones(1, 1, *x.shape[2:])
    behind = [0] * len(after)
    if call.get("count_include_pad", 0):
        counted = padded(counted, windows.before, windows.after, 1.0)
        ahead, behind = behind, [a - b for a, b in zip(after, windows.after, strict=True)]
    else:
        ahead, behind = list(windows.before), list(after)
    return means / _means(padded(counted, ahead, behind), windows)


def lp_pool(call: Call, x: Tensor) -> Tensor:
    """LpPool: the p-norm of each window."""
    p = call.get("p", 2)
    windows = windows_of(call, call.get("kernel_shape"), tuple(x.shape[2:]))
    powers = padded(x.abs() ** p, windows.before, _after(call, windows, x))
    return (_means(powers, windows) * math.prod(windows.kernel)) ** (1.0 / p)


def global_average_pool(call: Call, x: Tensor) -> Tensor:
    """GlobalAveragePool."""
    return x.mean(_spatial(x), keepdim=True)


def global_max_pool(call: Call, x: Tensor) -> Tensor:
    """GlobalMaxPool."""
    return x.amax(_spatial(x), keepdim=True)


def global_lp_pool(call: Call, x: Tensor) -> Tensor:
    """GlobalLpPool."""
    p = call.get("p", 2)
    return (x.abs() ** p).sum(_spatial(x), keepdim=True) ** (1.0 / p)


def _spatial(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.dim()))


def _after(call: Call, windows: Windows, x: Tensor) -> tuple[int, ...]:
    """Padding behind each axis, including the room that ``ceil_mode`` lets the last window reach into."""
    if not call.get("ceil_mode", 0):
        return windows.after
    return tuple(
        _reach(size, extent, stride, before, after)
        for size, extent, stride, before, after in zip(
            x.shape[2:], windows.extents, windows.strides, windows.before, windows.after, strict=True
        )
    )


def _reach(size: int, extent: int, stride: int, before: int, after: int) -> int:
    count = -(-(size + before + after - extent) // stride) + 1
    if (count - 1) * stride >= size + before:  # a window that would start behind the data is none
        count -= 1
    return max(after, (count - 1) * stride + extent - size - before)


def _means(x: Tensor, windows: Windows) -> Tensor:
    """Means over all positions of each window of a padded tensor."""
    if all(dilation == 1 for dilation in windows.dilations):
        return _MEAN[len(windows.kernel)](x, windows.kernel, windows.strides)
    counts = [
        (size - extent) // stride + 1
        for size, extent, stride in zip(x.shape[2:], windows.extents, windows.strides, strict=True)
    ]
    total: Tensor = 0.0
    for offsets in itertools.product(*(range(k) for k in windows.kernel)):
        total = total + x[(..., *_taps(offsets, counts, windows))]
    return total / math.prod(windows.kernel)


def _taps(offsets: Sequence[int], counts: Sequence[int], windows: Windows) -> tuple[slice, ...]:
    return tuple(
        slice(offset * dilation, offset * dilation + (count - 1) * stride + 1, stride)
        for offset, dilation, count, stride in zip(offsets, windows.dilations, counts, windows.strides, strict=True)
    )


OPERATORS: dict[str, Operator] = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "GlobalLpPool": global_lp_pool,
}

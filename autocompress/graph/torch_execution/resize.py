"""Resize: every axis that changes is multiplied by a matrix of interpolation weights, or picked from by position.

Interpolation in several axes is the product of interpolations in one, so one matrix of shape (new, old) per axis covers
linear and cubic with every coordinate rule; its rows follow the definitions of the ONNX operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from autocompress.graph.torch_execution.call import Call, Operator, Tensor, numbers

Positions = npt.NDArray[np.floating]

_NEAREST: dict[str, Callable[[Positions], Positions]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def resize(
    call: Call, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> Tensor:
    """Resize since operator set 10 (where scales are the second operand)."""
    if call.opset < 11:
        roi, scales = None, roi
    if call.get("antialias", 0):
        raise call.refuse("antialiasing")
    axes = [axis % x.dim() for axis in call.get("axes", range(x.dim()))]
    for axis, new, scale in _targets(call, x, axes, scales, sizes):
        if new != x.shape[axis] or scale != 1.0:
            x = _resized(call, x, axis, new, scale)
    return x


def upsample(call: Call, x: Tensor, scales: Tensor | None = None) -> Tensor:
    """Upsample, the older name of Resize."""
    factors = call.get("scales") if scales is None else scales.tolist()
    for axis, scale in enumerate(factors):
        if scale != 1.0:
            x = _resized(call, x, axis, math.floor(x.shape[axis] * scale), scale)
    return x


def _targets(
    call: Call, x: Tensor, axes: Sequence[int], scales: Tensor | None, sizes: Tensor | None
) -> list[tuple[int, int, float]]:
    """(axis, new size, scale) of every axis named."""
    if scales is not None and scales.numel():
        return [
            (axis, math.floor(x.shape[axis] * scale), scale) for axis, scale in zip(axes, scales.tolist(), strict=True)
        ]
    wanted = numbers(sizes)
    factors = [new / x.shape[axis] for axis, new in zip(axes, wanted, strict=True)]
    policy = call.get("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        factor = min(factors) if policy == "not_larger" else max(factors)
        factors = [factor] * len(factors)
        wanted = [math.floor(factor * x.shape[axis] + 0.5) for axis in axes]
    return list(zip(axes, wanted, factors, strict=True))


def _resized(call: Call, x: Tensor, axis: int, new: int, scale: float) -> Tensor:
    old = x.shape[axis]
    where = _old_positions(call, old, new, scale)
    mode = call.get("mode", "nearest")
    if mode == "nearest":
        rule = "floor" if call.node.op_type == "Upsample" or call.opset < 11 else "round_prefer_floor"
        chosen = np.clip(_NEAREST[call.get("nearest_mode", rule)](where), 0, old - 1).astype(np.int64)
        return x.index_select(axis, torch.from_numpy(chosen).to(x.device))
    taps = (
        _linear_taps(where) if mode in ("linear", "bilinear") else _cubic_taps(where, call.get("cubic_coeff_a", -0.75))
    )
    matrix = _matrix(*taps, old, bool(call.get("exclude_outside", 0)))
    weights = torch.from_numpy(matrix).to(x.device, x.dtype)
    return torch.movedim(torch.movedim(x, axis, -1) @ weights.t(), -1, axis)


def _old_positions(call: Call, old: int, new: int, factor: float) -> Positions:
    """Where each new element lies among the old ones."""
    # In single precision, as runtimes do it: nearest neighbours of ties depend on it.
    own, scale = np.arange(new, dtype=np.float32), np.float32(factor)
    legacy = call.node.op_type == "Upsample" or call.opset < 11
    mode = call.get("coordinate_transformation_mode", "asymmetric" if legacy else "half_pixel")
    if mode == "half_pixel":
        return (own + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        return old / 2 * (1 - new / (scale * old)) + (own + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return (own + 0.5) / scale - 0.5 if new > 1 else np.zeros(new)
    if mode == "align_corners":
        return own * (old - 1) / (new - 1) if new > 1 else np.zeros(new)
    if mode == "asymmetric":
        return own / scale
    raise call.refuse(f"coordinate transformation {mode!r}")


def _linear_taps(where: Positions) -> tuple[npt.NDArray[np.int64], Positions]:
    """Positions and weights of two neighbours, each of shape (new, 2)."""
    first = np.floor(where)
    part = where - first
    return np.stack([first, first + 1], 1).astype(np.int64), np.stack([1 - part, part], 1)


def _cubic_taps(where: Positions, a: float) -> tuple[npt.NDArray[np.int64], Positions]:
    """Positions and weights of four neighbours, each of shape (new, 4); Keys' kernel with parameter ``a``."""
    first = np.floor(where)
    part = where - first
    far, near = np.stack([part + 1, 2 - part], 1), np.stack([part, 1 - part], 1)
    outer = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
    inner = ((a + 2) * near - (a + 3)) * near * near + 1
    weights = np.stack([outer[:, 0], inner[:, 0], inner[:, 1], outer[:, 1]], 1)
    return (first[:, None] + np.arange(-1, 3)).astype(np.int64), weights


def _matrix(positions: npt.NDArray[np.int64], weights: Positions, old: int, exclude_outside: bool) -> Positions:
    """Interpolation weights of shape (new, old); neighbours outside repeat the edge, or do not count."""
    if exclude_outside:
        weights = np.where((positions >= 0) & (positions < old), weights, 0.0)
        weights = weights / weights.sum(1, keepdims=True)
    matrix = np.zeros((len(positions), old))
    rows = np.broadcast_to(np.arange(len(positions))[:, None], positions.shape)
    np.add.at(matrix, (rows, np.clip(positions, 0, old - 1)), weights)
    return matrix


OPERATORS: dict[str, Operator] = {"Resize": resize, "Upsample": upsample}

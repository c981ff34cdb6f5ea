"""Normalizations, as they behave at inference."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

from autocompress.graph.torch_execution.call import Call, Operator, Tensor


def batch_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """BatchNormalization with its stored statistics."""
    if call.get("training_mode", 0):
        raise call.refuse("its training mode")
    factor = scale * torch.rsqrt(variance + call.get("epsilon", 1e-5))
    return _channelwise(x, factor, bias - mean * factor)


def instance_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """InstanceNormalization: per sample and channel."""
    axes = tuple(range(2, x.dim()))
    return _channelwise(_standardized(x, axes, call.get("epsilon", 1e-5))[0], scale, bias)


def group_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """GroupNormalization; scale and bias per group before operator set 21, per channel since."""
    groups = call.get("num_groups")
    grouped = x.reshape(x.shape[0], groups, -1)
    normal = _standardized(grouped, (2,), call.get("epsilon", 1e-5))[0].reshape(x.shape)
    if call.opset < 21:
        repeats = x.shape[1] // groups
        scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
    return _channelwise(normal, scale, bias)


def layer_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
    """LayerNormalization over the axes from ``axis`` on; also gives the mean and 1 / standard deviation."""
    axis = call.get("axis", -1) % x.dim()
    normal, mean, inverse = _standardized(x, tuple(range(axis, x.dim())), call.get("epsilon", 1e-5))
    y = normal * scale
    return (y if bias is None else y + bias, mean, inverse)


def rms_normalization(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    """RMSNormalization over the axes from ``axis`` on."""
    axes = tuple(range(call.get("axis", -1) % x.dim(), x.dim()))
    return x * torch.rsqrt((x * x).mean(axes, keepdim=True) + call.get("epsilon", 1e-5)) * scale


def mean_variance_normalization(call: Call, x: Tensor) -> Tensor:
    """MeanVarianceNormalization."""
    centred = x - x.mean(tuple(call.get("axes", [0, 2, 3])), keepdim=True)
    return centred / ((centred * centred).mean(tuple(call.get("axes", [0, 2, 3])), keepdim=True).sqrt() + 1e-9)


def lp_normalization(call: Call, x: Tensor) -> Tensor:
    """LpNormalization along one axis; where the norm is zero, so is the result."""
    norm = torch.linalg.vector_norm(x, call.get("p", 2), call.get("axis", -1), keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


def local_response_normalization(call: Call, x: Tensor) -> Tensor:
    """LRN: each channel over a power of the mean square of its neighbours."""
    size = call.get("size")
    squares = (x * x).reshape(x.shape[0], 1, x.shape[1], -1)
    window = functional.pad(squares, (0, 0, (size - 1) // 2, size - 1 - (size - 1) // 2))
    means = functional.avg_pool2d(window, (size, 1), 1).reshape(x.shape)
    return x / (call.get("bias", 1.0) + call.get("alpha", 1e-4) * means) ** call.get("beta", 0.75)


def _standardized(x: Tensor, axes: tuple[int, ...], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """``x`` with mean 0 and variance 1 over ``axes``; its mean; 1 / standard deviation."""
    mean = x.mean(axes, keepdim=True)
    centred = x - mean
    inverse = torch.rsqrt((centred * centred).mean(axes, keepdim=True) + epsilon)
    return centred * inverse, mean, inverse


def _channelwise(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    shape = (1, -1, *[1] * (x.dim() - 2))
    return x * scale.reshape(shape) + bias.reshape(shape)


OPERATORS: dict[str, Operator] = {
    "BatchNormalization": batch_normalization,
    "InstanceNormalization": instance_normalization,
    "GroupNormalization": group_normalization,
    "LayerNormalization": layer_normalization,
    "RMSNormalization": rms_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "LpNormalization": lp_normalization,
    "LRN": local_response_normalization,
}

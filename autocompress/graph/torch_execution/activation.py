"""Activations: functions of one element, or of one axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as functional

from autocompress.graph.torch_execution.call import Call, Operator, Tensor


class _Clamp(torch.autograd.Function):  # type: ignore[misc]
    """Clamp that keeps its result for the gradient: the next layer keeps that anyway, the operand only takes memory."""

    @staticmethod
    def forward(context: Any, x: Tensor, lower: float, upper: float) -> Tensor:
        result = x.clamp(lower, upper)
        context.save_for_backward(result)
        context.bounds = lower, upper
        return result

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (result,) = context.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, result, *context.bounds), None, None


def clip(call: Call, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Clip; bounds are operands since operator set 11."""
    lower = call.get("min") if low is None else low.item()
    upper = call.get("max") if high is None else high.item()
    if lower is None and upper is None:
        return x
    if x.requires_grad and x.is_floating_point():
        lowest, highest = -math.inf, math.inf
        clamped: Tensor = _Clamp.apply(x, lowest if lower is None else lower, highest if upper is None else upper)
        return clamped
    return x.clamp(lower, upper)


def prelu(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    """PRelu; the slope is broadcast to ``x``."""
    return torch.where(x < 0, x * slope, x)


def leaky_relu(call: Call, x: Tensor) -> Tensor:
    """LeakyRelu."""
    return functional.leaky_relu(x, call.get("alpha", 0.01))


def hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    """HardSigmoid: max(0, min(1, alpha x + beta))."""
    return (x * call.get("alpha", 0.2) + call.get("beta", 0.5)).clamp(0.0, 1.0)


def hard_swish(call: Call, x: Tensor) -> Tensor:
    """HardSwish: x max(0, min(1, x / 6 + 1 / 2))."""
    return functional.hardswish(x)


def gelu(call: Call, x: Tensor) -> Tensor:
    """Gelu, by the error function or by its tanh approximation."""
    return functional.gelu(x, approximate=call.get("approximate", "none"))


def elu(call: Call, x: Tensor) -> Tensor:
    """Elu."""
    return functional.elu(x, call.get("alpha", 1.0))


def celu(call: Call, x: Tensor) -> Tensor:
    """Celu."""
    return functional.celu(x, call.get("alpha", 1.0))


def selu(call: Call, x: Tensor) -> Tensor:
    """Selu."""
    alpha, gamma = call.get("alpha", 1.67326319217681884765625), call.get("gamma", 1.05070102214813232421875)
    return gamma * functional.elu(x, alpha)


def thresholded_relu(call: Call, x: Tensor) -> Tensor:
    """ThresholdedRelu: x where it is above alpha, else 0."""
    return torch.where(x > call.get("alpha", 1.0), x, torch.zeros_like(x))


def softplus(call: Call, x: Tensor) -> Tensor:
    """Softplus: log(1 + exp(x))."""
    return torch.logaddexp(x, torch.zeros_like(x))


def swish(call: Call, x: Tensor) -> Tensor:
    """Swish: x sigmoid(alpha x)."""
    return x * torch.sigmoid(call.get("alpha", 1.0) * x)


def softmax(call: Call, x: Tensor) -> Tensor:
    """Softmax along an axis; before operator set 13 over all axes from it on."""
    return _along(call, x, torch.softmax)


def log_softmax(call: Call, x: Tensor) -> Tensor:
    """LogSoftmax; axes as for Softmax."""
    return _along(call, x, torch.log_softmax)


def _along(call: Call, x: Tensor, function: Callable[[Tensor, int], Tensor]) -> Tensor:
    if call.opset >= 13:
        return function(x, call.get("axis", -1))
    axis = call.get("axis", 1) % x.dim()
    rows = x.reshape(math.prod(x.shape[:axis]), -1)
    return function(rows, 1).reshape(x.shape)


OPERATORS: dict[str, Operator] = {
    "Relu": lambda call, x: torch.relu(x),
    "Sigmoid": lambda call, x: torch.sigmoid(x),
    "Tanh": lambda call, x: torch.tanh(x),
    "Erf": lambda call, x: torch.erf(x),
    "Softsign": lambda call, x: x / (1.0 + x.abs()),
    "Mish": lambda call, x: x * torch.tanh(softplus(call, x)),
    "Softplus": softplus,
    "Swish": swish,
    "Clip": clip,
    "PRelu": prelu,
    "LeakyRelu": leaky_relu,
    "ThresholdedRelu": thresholded_relu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Gelu": gelu,
    "Elu": elu,
    "Celu": celu,
    "Selu": selu,
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
}

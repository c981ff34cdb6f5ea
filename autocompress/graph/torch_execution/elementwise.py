"""Arithmetic, comparisons and choices, element by element with broadcasting."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from autocompress.graph.torch_execution.call import Call, Operator, Tensor


def divide(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Div; integers are divided toward zero, as in C."""
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def power(call: Call, base: Tensor, exponent: Tensor) -> Tensor:
    """Pow; the result has the type of the base."""
    return torch.pow(base, exponent).to(base.dtype)


def modulo(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Mod: the sign of the divisor, or with ``fmod`` that of the dividend."""
    return torch.fmod(a, b) if call.get("fmod", 0) else torch.remainder(a, b)


def mean(call: Call, *operands: Tensor) -> Tensor:
    """Mean of any number of tensors."""
    return functools.reduce(torch.add, operands) / len(operands)


def is_infinite(call: Call, x: Tensor) -> Tensor:
    """IsInf."""
    positive = torch.isposinf(x) if call.get("detect_positive", 1) else torch.zeros_like(x, dtype=torch.bool)
    return positive | torch.isneginf(x) if call.get("detect_negative", 1) else positive


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda call, x: function(x)


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda call, a, b: function(a, b)


def _variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda call, *operands: functools.reduce(function, operands)


_SAME_NAMES = (
    *("Abs", "Ceil", "Cos", "Cosh", "Exp", "Floor", "Log", "Neg"),
    *("Reciprocal", "Round", "Sign", "Sin", "Sinh", "Sqrt", "Tan"),
)

OPERATORS: dict[str, Operator] = {
    "Div": divide,
    "Pow": power,
    "Mod": modulo,
    "Mean": mean,
    "IsInf": is_infinite,
    "Where": lambda call, condition, a, b: torch.where(condition, a, b),
    **{name: _binary(getattr(torch, name.lower())) for name in ("Add", "Sub", "Mul")},
    "Equal": _binary(torch.eq),
    "Greater": _binary(torch.gt),
    "GreaterOrEqual": _binary(torch.ge),
    "Less": _binary(torch.lt),
    "LessOrEqual": _binary(torch.le),
    "And": _binary(torch.logical_and),
    "Or": _binary(torch.logical_or),
    "Xor": _binary(torch.logical_xor),
    "Min": _variadic(torch.minimum),
    "Max": _variadic(torch.maximum),
    "Sum": _variadic(torch.add),
    "Not": _unary(torch.logical_not),
    "IsNaN": _unary(torch.isnan),
    **{name: _unary(getattr(torch, name.lower())) for name in _SAME_NAMES},
    "Acos": _unary(torch.acos),
    "Asin": _unary(torch.asin),
    "Atan": _unary(torch.atan),
    "Acosh": _unary(torch.acosh),
    "Asinh": _unary(torch.asinh),
    "Atanh": _unary(torch.atanh),
}

"""Activations, written as exporters write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from autocompress.latency.zoo.network import Network, Value


def _silu(network: Network, x: Value, integer: bool) -> Value:
    gate = network.op("Sigmoid", [x], x.shape, integer=integer)
    return network.op("Mul", [x, gate], x.shape, integer=integer)


def _hard_swish(network: Network, x: Value, integer: bool) -> Value:
    gate = network.op("HardSigmoid", [x], x.shape, alpha=1 / 6, beta=0.5)
    return network.op("Mul", [x, gate], x.shape, integer=integer)


def _gelu(network: Network, x: Value, integer: bool) -> Value:
    scaled = network.op("Div", [x], x.shape, constants=[np.asarray(np.sqrt(2), np.float32)])
    raised = network.op("Add", [network.op("Erf", [scaled], x.shape)], x.shape, constants=[np.asarray(1, np.float32)])
    product = network.op("Mul", [x, raised], x.shape)
    return network.op("Mul", [product], x.shape, constants=[np.asarray(0.5, np.float32)])


def _gelu_halved(network: Network, x: Value, integer: bool) -> Value:
    """The product written as (x / 2) (1 + erf), which runtimes may not recognize."""
    scaled = network.op("Div", [x], x.shape, constants=[np.asarray(np.sqrt(2), np.float32)])
    raised = network.op("Add", [network.op("Erf", [scaled], x.shape)], x.shape, constants=[np.asarray(1, np.float32)])
    half = network.op("Mul", [network.constant(np.asarray(0.5, np.float32)), x], x.shape)
    return network.op("Mul", [half, raised], x.shape)


def _gelu_tanh(network: Network, x: Value, integer: bool) -> Value:
    """The approximation x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""

    def scaled(value: Value, factor: float) -> Value:
        return network.op("Mul", [network.constant(np.asarray(factor, np.float32)), value], x.shape)

    cubed = network.op("Pow", [x], x.shape, constants=[np.asarray(3, np.float32)])
    inner = scaled(network.op("Add", [x, scaled(cubed, 0.044715)], x.shape), float(np.sqrt(2 / np.pi)))
    raised = network.op("Tanh", [inner], x.shape)
    raised = network.op("Add", [raised], x.shape, constants=[np.asarray(1, np.float32)])
    return network.op("Mul", [scaled(x, 0.5), raised], x.shape)


def _mish(network: Network, x: Value, integer: bool) -> Value:
    gate = network.op("Tanh", [network.op("Softplus", [x], x.shape)], x.shape)
    return network.op("Mul", [x, gate], x.shape)


def _prelu(network: Network, x: Value, integer: bool) -> Value:
    slopes = np.full((x.shape[1], *[1] * (len(x.shape) - 2)), 0.25, np.float32)
    return network.op("PRelu", [x], x.shape, constants=[slopes])


def _hard_tanh(network: Network, x: Value, integer: bool) -> Value:
    return network.op("Clip", [x], x.shape, constants=[np.asarray(v, np.float32) for v in (-1, 1)])


ACTIVATIONS: dict[str, Callable[[Network, Value, bool], Value]] = {
    "silu": _silu,
    "hardswish": _hard_swish,
    "gelu": _gelu,
    "gelu_halved": _gelu_halved,
    "gelu_tanh": _gelu_tanh,
    "mish": _mish,
    "prelu": _prelu,
    "hardtanh": _hard_tanh,
    "elu": lambda network, x, integer: network.op("Elu", [x], x.shape),
    "softplus": lambda network, x, integer: network.op("Softplus", [x], x.shape),
    "exp": lambda network, x, integer: network.op("Exp", [x], x.shape),
    "sigmoid": lambda network, x, integer: network.op("Sigmoid", [x], x.shape, integer=integer),
    "hardsigmoid": lambda network, x, integer: network.op("HardSigmoid", [x], x.shape, alpha=1 / 6, beta=0.5),
    "tanh": lambda network, x, integer: network.op("Tanh", [x], x.shape),
    "leaky": lambda network, x, integer: network.op("LeakyRelu", [x], x.shape, integer=integer, alpha=0.1),
}

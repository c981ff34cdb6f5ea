"""Recurrent layers as exporters write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autocompress.latency.zoo import operators as ops
from autocompress.latency.zoo.blocks import Options
from autocompress.latency.zoo.network import Network, Value

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _recurrence(net: Network, x: Value, hidden: int, o: Options) -> Value:
    """An LSTM, GRU or RNN over (batch, steps, features), in one direction or both."""
    cell, both = o.get("cell", "LSTM"), bool(o.get("both", False))
    hidden, directions = net.width(hidden), 1 + both
    y = ops.transpose(net, x, 1, 0, 2)
    steps, batch, _ = y.shape
    operands = [y, *_weights(net, y.shape[2], hidden, _GATES[cell], directions), Value("", ())]
    operands += [net.constant(np.zeros((directions, batch, hidden), np.float32)) for _ in range(1 + (cell == "LSTM"))]
    attributes: dict[str, object] = {"hidden_size": hidden, "direction": "bidirectional" if both else "forward"}
    if cell == "GRU":
        attributes["linear_before_reset"] = 1  # as in PyTorch
    (y,) = net.several(cell, operands, [(steps, directions, batch, hidden)], **attributes)
    if both:
        y = ops.reshape(net, ops.transpose(net, y, 0, 2, 1, 3), steps, batch, 2 * hidden)
    else:
        y = ops.squeeze(net, y, 1)
    return ops.transpose(net, y, 1, 0, 2)


def _weights(net: Network, features: int, hidden: int, gates: int, directions: int) -> list[Value]:
    """Weights, recurrence weights and biases of all gates."""
    shapes = (
        (directions, gates * hidden, features),
        (directions, gates * hidden, hidden),
        (directions, 2 * gates * hidden),
    )
    rng = np.random.default_rng(hidden)
    return [net.constant((rng.standard_normal(shape) / np.sqrt(hidden)).astype(np.float32)) for shape in shapes]


def _steps(net: Network, x: Value, _: int, o: Options) -> Value:
    """A plane (batch, channels, height, width) as steps along its width."""
    n, c, h, w = x.shape
    return ops.reshape(net, ops.transpose(net, x, 0, 3, 1, 2), n, w, c * h)


RECURRENT_BLOCKS: dict[str, Callable[[Network, Value, Any, Options], Value]] = {
    "recurrence": _recurrence,
    "steps": _steps,
}

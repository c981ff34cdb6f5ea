"""Building blocks over sequences: transformers and recurrent networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from autocompress.latency.zoo.blocks import Options
from autocompress.latency.zoo.network import Network, Value


def _patches(net: Network, x: Value, width: int, o: Options) -> Value:
    """ViT: a strided convolution, then positions as a sequence."""
    size = o.get("size", 16)
    kernel = np.zeros((width, x.shape[1], size, size), np.float32)
    rows, columns = (s // size for s in x.shape[2:])
    x = net.op("Conv", [x], (x.shape[0], width, rows, columns), constants=[kernel + 0.01],
               kernel_shape=[size, size], strides=[size, size])  # fmt: skip
    length = rows * columns
    x = net.op("Reshape", [x], (x.shape[0], width, length), constants=[np.asarray([x.shape[0], width, length])])
    return net.op("Transpose", [x], (x.shape[0], length, width), perm=[0, 2, 1])


def _encoder(net: Network, x: Value, heads: int, o: Options) -> Value:
    """A transformer encoder layer, normalized after (BERT) or before (ViT)."""
    before = bool(o.get("before", False))
    y = _attention(net, _normalized(net, x) if before else x, heads)
    x = net.op("Add", [y, x], x.shape)
    x = x if before else _normalized(net, x)
    y = net.dense(_normalized(net, x) if before else x, net.width(x.shape[-1] * o.get("expand", 4)), "gelu")
    x = net.op("Add", [net.dense(y, x.shape[-1]), x], x.shape)
    return x if before else _normalized(net, x)


def _normalized(net: Network, x: Value) -> Value:
    ones = np.ones(x.shape[-1], np.float32)
    return net.op("LayerNormalization", [x], x.shape, constants=[ones, ones * 0], axis=-1)


def _attention(net: Network, x: Value, heads: int) -> Value:
    n, length, width = x.shape
    size = width // heads
    query = _split_heads(net, net.dense(x, width), heads, (0, 2, 1, 3))
    key = _split_heads(net, net.dense(x, width), heads, (0, 2, 3, 1))
    value = _split_heads(net, net.dense(x, width), heads, (0, 2, 1, 3))
    scores = net.op("MatMul", [query, key], (n, heads, length, length))
    scores = net.op("Div", [scores], scores.shape, constants=[np.asarray(size**0.5, np.float32)])
    scores = net.op("Softmax", [scores], scores.shape, axis=-1)
    mixed = net.op("MatMul", [scores, value], (n, heads, length, size))
    mixed = net.op("Transpose", [mixed], (n, length, heads, size), perm=[0, 2, 1, 3])
    mixed = net.op("Reshape", [mixed], (n, length, width), constants=[np.asarray([n, length, width])])
    return net.dense(mixed, width)


def _split_heads(net: Network, x: Value, heads: int, perm: tuple[int, ...]) -> Value:
    n, length, width = x.shape
    shape = (n, length, heads, width // heads)
    x = net.op("Reshape", [x], shape, constants=[np.asarray(shape)])
    return net.op("Transpose", [x], tuple(shape[i] for i in perm), perm=list(perm))


def _embedding(net: Network, x: Value, width: int, o: Options) -> Value:
    """Looks tokens up in a table; the float input is rounded to make tokens."""
    tokens = net.op("Cast", [net.op("Abs", [x], x.shape)], x.shape, to=TensorProto.INT64)
    table = np.zeros((o.get("tokens", 1000), width), np.float32) + 0.1
    return net.lookup(table, tokens)


def _pooled(net: Network, x: Value, _: int, o: Options) -> Value:
    """Mean over the sequence."""
    return net.op("ReduceMean", [x], (x.shape[0], x.shape[2]), axes=[1], keepdims=0)


def _recurrent(net: Network, x: Value, hidden: int, o: Options) -> Value:
    """LSTM or GRU over (steps, batch, features)."""
    cell = o.get("cell", "LSTM")
    gates = 4 if cell == "LSTM" else 3
    rng = np.random.default_rng(hidden)
    weight = (rng.standard_normal((1, gates * hidden, x.shape[2])) * 0.1).astype(np.float32)
    recurrence = (rng.standard_normal((1, gates * hidden, hidden)) * 0.1).astype(np.float32)
    y = net.op(cell, [x], (x.shape[0], 1, x.shape[1], hidden), constants=[weight, recurrence], hidden_size=hidden)
    shape = (x.shape[0], x.shape[1], hidden)
    return net.op("Squeeze", [y], shape, constants=[np.asarray([1])])


SEQUENCE_BLOCKS: dict[str, Callable[[Network, Value, Any, Options], Value]] = {
    "patches": _patches,
    "encoder": _encoder,
    "embedding": _embedding,
    "pooled": _pooled,
    "recurrent": _recurrent,
}

"""More building blocks over sequences: tokens and masks, decoders, windows, sequence-first and gated attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from autocompress.latency.zoo import operators as ops
from autocompress.latency.zoo.blocks import Options
from autocompress.latency.zoo.network import Network, Value

_MASKED = -1e4


def _tokens(net: Network, x: Value, width: int, o: Options) -> Value:
    """Looks integer tokens up in a table and adds what stands for their positions."""
    table = np.linspace(-1.0, 1.0, o.get("vocabulary", 1000) * width, dtype=np.float32).reshape(-1, width)
    y = net.lookup(table, x)
    positions = o.get("positions", "constant")
    if positions == "counted":  # RoBERTa: the number of tokens so far that are no padding
        present = ops.cast(net, net.op("Not", [_equals(net, x, 0)], x.shape), TensorProto.INT64)
        count = net.op("CumSum", [present], x.shape, constants=[np.asarray(1, np.int64)])
        count = ops.binary(net, "Add", ops.binary(net, "Mul", count, present), ops.integers(net, 1))
        y = ops.binary(net, "Add", y, net.lookup(table[: x.shape[1] + 2], count))
    elif positions == "constant":
        y = ops.with_vector(net, "Add", y, (1, x.shape[1], width))
    return ops.layer_norm(net, y) if o.get("normalized") else y


def _equals(net: Network, x: Value, number: int) -> Value:
    return net.op("Equal", [x, ops.integers(net, number)], x.shape)


def _sequence(net: Network, x: Value, _: int, o: Options) -> Value:
    """A plane as a sequence of its positions, or a signal as a sequence of its steps."""
    flat = ops.reshape(net, x, *x.shape[:2], -1) if len(x.shape) > 3 else x
    return ops.transpose(net, flat, 0, 2, 1)


def _class_token(net: Network, x: Value, _: int, o: Options) -> Value:
    """ViT: a learned position before the others, and positions added."""
    first = net.constant(np.full((1, 1, x.shape[2]), 0.1, np.float32))
    y = ops.concat(net, [first, x], 1)
    return ops.with_vector(net, "Add", y, (1, *y.shape[1:]))


def _decoder(net: Network, x: Value, heads: int, o: Options) -> Value:
    """A decoder layer as in LLaMA: RMS normalization, rotary positions, shared keys, causal mask, gated SiLU."""
    n, length, width = x.shape
    size, shared = width // heads, o.get("shared", 1)
    y = ops.rms_norm(net, x, divided=bool(o.get("divided")))
    query = _rotated(net, _heads(net, net.dense(y, width, bias=False), heads))
    key = _rotated(net, _heads(net, net.dense(y, width // shared, bias=False), heads // shared))
    value = _heads(net, net.dense(y, width // shared, bias=False), heads // shared)
    if shared > 1:
        key, value = (_shared(net, v, shared) for v in (key, value))
    scores = ops.product(net, query, ops.transpose(net, key, 0, 1, 3, 2))
    scores = ops.with_scalar(net, "Mul", scores, size**-0.5)
    mask = np.triu(np.full((length, length), _MASKED, np.float32), 1)
    scores = ops.softmax(net, ops.binary(net, "Add", scores, net.constant(mask)))
    mixed = ops.transpose(net, ops.product(net, scores, value), 0, 2, 1, 3)
    x = ops.binary(net, "Add", x, net.dense(ops.reshape(net, mixed, n, length, width), width, bias=False))
    y = ops.rms_norm(net, x, divided=bool(o.get("divided")))
    inner = net.width(width * o.get("expand", 3))
    gate = net.dense(y, inner, o.get("act", "silu"), bias=False)
    y = net.dense(ops.binary(net, "Mul", gate, net.dense(y, inner, bias=False)), width, bias=False)
    return ops.binary(net, "Add", x, y)


def _heads(net: Network, x: Value, heads: int) -> Value:
    n, length, width = x.shape
    return ops.transpose(net, ops.reshape(net, x, n, length, heads, width // heads), 0, 2, 1, 3)


def _rotated(net: Network, x: Value) -> Value:
    """Rotary positions: x cos + (-second half, first half) sin."""
    length, size = x.shape[2:]
    half = size // 2
    left, right = net.split(x, [half] * 2, 3)
    # Runtimes that know this pattern know it with the axis counted from the end.
    turned = net.op("Concat", [ops.unary(net, "Neg", right), left], x.shape, axis=-1)
    angles = np.outer(np.arange(length), 1e4 ** (-np.arange(half) / half))
    angles = np.concatenate([angles, angles], 1)[None, None]
    cosines, sines = (net.constant(f(angles).astype(np.float32)) for f in (np.cos, np.sin))
    straight, turned = ops.binary(net, "Mul", x, cosines), ops.binary(net, "Mul", turned, sines)
    return ops.binary(net, "Add", straight, turned)


def _shared(net: Network, x: Value, times: int) -> Value:
    """Each head repeated."""
    n, heads, length, size = x.shape
    y = ops.expand(net, ops.unsqueeze(net, x, 2), n, heads, times, length, size)
    return ops.reshape(net, y, n, heads * times, length, size)


def _masked_encoder(net: Network, x: Value, heads: int, o: Options) -> Value:
    """An encoder layer as exporters write scaled dot-product attention: masked, both operands scaled, rows checked."""
    n, length, width = x.shape
    query, key, value = (_heads(net, net.dense(x, width), heads) for _ in range(3))
    root = (width // heads) ** -0.25
    flat = ops.transpose(net, ops.reshape(net, key, n * heads, length, width // heads), 0, 2, 1)
    key = ops.with_scalar(net, "Mul", ops.reshape(net, flat, n, heads, width // heads, length), root)
    scores = ops.product(net, ops.with_scalar(net, "Mul", query, root), key)
    scores = ops.softmax(net, ops.binary(net, "Add", scores, _added_mask(net, length)))
    zero = net.constant(np.asarray(0, np.float32))
    scores = ops.choose(net, net.op("IsNaN", [scores], scores.shape), zero, scores)
    mixed = ops.transpose(net, ops.product(net, scores, value), 0, 2, 1, 3)
    y = net.dense(ops.reshape(net, mixed, n, length, width), width)
    x = ops.layer_norm(net, ops.binary(net, "Add", y, x))
    y = net.dense(x, net.width(width * o.get("expand", 4)), o.get("act", "gelu_halved"))
    return ops.layer_norm(net, ops.binary(net, "Add", net.dense(y, width), x))


def _added_mask(net: Network, length: int) -> Value:
    """What is added to the scores: zero where both the row and the column of the mask are present."""
    mask = ops.cast(net, net.mask(length), TensorProto.BOOL)
    indices = np.stack(np.broadcast_arrays(0, np.arange(length)), -1).reshape(1, 1, 1, length, 2)
    columns = net.op("GatherND", [mask], (1, 1, 1, length), constants=[indices.astype(np.int64)])
    both = net.op("And", [net.constant(np.ones((1, 1, length, 1), np.bool_)), columns], (1, 1, length, length))
    kept, dropped = (net.constant(np.asarray(v, np.float32)) for v in (0, _MASKED))
    return ops.choose(net, both, kept, dropped)


def _masked_mean(net: Network, x: Value, _: int, o: Options) -> Value:
    """Sentence encoders: the mean over the tokens that are present, normalized to length one."""
    weights = ops.cast(net, ops.unsqueeze(net, net.mask(x.shape[1]), 2))
    total = ops.reduce(net, "ReduceSum", ops.binary(net, "Mul", x, weights), [1])
    count = net.op("Clip", [ops.reduce(net, "ReduceSum", weights, [1])], (1, 1), constants=[np.asarray(1, np.float32)])
    mean = ops.binary(net, "Div", total, count)
    return ops.binary(net, "Div", mean, ops.reduce(net, "ReduceL2", mean, [1], keep=True))


def _torch_encoder(net: Network, x: Value, heads: int, o: Options) -> Value:
    """PyTorch's own encoder layer: sequence first inside, queries, keys and values from one product."""
    n, length, width = x.shape
    before, act = bool(o.get("before", False)), o.get("act", "relu")
    y = ops.transpose(net, ops.layer_norm(net, x) if before else x, 1, 0, 2)
    y = ops.reshape(net, net.dense(y, 3 * width), length, n, 3, width)
    y = ops.squeeze(net, ops.transpose(net, ops.unsqueeze(net, y, 0), 3, 1, 2, 0, 4), 3)
    parts = (ops.reshape(net, ops.take(net, y, 0, i), length, n * heads, width // heads) for i in range(3))
    query, key, value = (ops.reshape(net, ops.transpose(net, p, 1, 0, 2), n, heads, length, -1) for p in parts)
    scores = ops.product(net, query, ops.transpose(net, key, 0, 1, 3, 2))
    scores = ops.softmax(net, ops.with_scalar(net, "Mul", scores, (width // heads) ** -0.5))
    mixed = ops.transpose(net, ops.product(net, scores, value), 2, 0, 1, 3)
    y = net.dense(ops.reshape(net, mixed, length * n, width), width)
    y = ops.transpose(net, ops.reshape(net, y, length, n, width), 1, 0, 2)
    x = ops.binary(net, "Add", x, y)
    x = x if before else ops.layer_norm(net, x)
    y = net.dense(ops.layer_norm(net, x) if before else x, net.width(width * o.get("expand", 4)), act)
    x = ops.binary(net, "Add", x, net.dense(y, width))
    return x if before else ops.layer_norm(net, x)


def _window_encoder(net: Network, x: Value, heads: int, o: Options) -> Value:
    """Attention within windows of a plane (batch, height, width, channels), with a bias for relative positions."""
    n, height, width, channels = x.shape
    size = o.get("window", 7)
    rows, columns = height // size, width // size
    y = ops.reshape(net, ops.layer_norm(net, x), n, rows, size, columns, size, channels)
    y = ops.reshape(net, ops.transpose(net, y, 0, 1, 3, 2, 4, 5), -1, size * size, channels)
    y = _fused_attention(net, y, heads, bias=True)
    y = ops.reshape(net, y, n, rows, columns, size, size, channels)
    y = ops.reshape(net, ops.transpose(net, y, 0, 1, 3, 2, 4, 5), n, height, width, channels)
    x = ops.binary(net, "Add", x, y)
    y = net.dense(ops.layer_norm(net, x), net.width(channels * 4), o.get("act", "gelu"))
    return ops.binary(net, "Add", x, net.dense(y, channels))


def _fused_encoder(net: Network, x: Value, heads: int, o: Options) -> Value:
    """ViT as PyTorch libraries write it: queries, keys and values from one product, moved by one transposition."""
    x = ops.binary(net, "Add", x, _fused_attention(net, ops.layer_norm(net, x), heads, bias=bool(o.get("bias"))))
    y = net.dense(ops.layer_norm(net, x), net.width(x.shape[2] * o.get("expand", 4)), o.get("act", "gelu_halved"))
    return ops.binary(net, "Add", x, net.dense(y, x.shape[2]))


def _fused_attention(net: Network, x: Value, heads: int, *, bias: bool) -> Value:
    n, length, width = x.shape
    size = width // heads
    y = ops.reshape(net, net.dense(x, 3 * heads * size), n, length, 3, heads, size)
    y = ops.transpose(net, y, 2, 0, 3, 1, 4)
    query, key, value = (ops.take(net, y, 0, i) for i in range(3))
    query = ops.with_scalar(net, "Mul", query, size**-0.5)
    scores = ops.product(net, query, ops.transpose(net, key, 0, 1, 3, 2))
    if bias:
        scores = ops.with_vector(net, "Add", scores, (1, heads, length, length))
    mixed = ops.product(net, ops.softmax(net, scores), value)
    return net.dense(ops.reshape(net, ops.transpose(net, mixed, 0, 2, 1, 3), n, length, heads * size), width)


def _channels_last(net: Network, x: Value, _: int, o: Options) -> Value:
    return ops.transpose(net, x, 0, 2, 3, 1)


def _shifted(net: Network, x: Value, steps: int, o: Options) -> Value:
    """Rolled along an axis: what leaves on one side enters on the other."""
    axis = o.get("axis", 1)
    parts = [ops.cut(net, x, axis, steps, x.shape[axis]), ops.cut(net, x, axis, 0, steps)]
    return ops.concat(net, parts, axis)


def _gated_mlp(net: Network, x: Value, expand: int, o: Options) -> Value:
    """gMLP: one half of the features is mixed over the positions and gates the other."""
    _, length, width = x.shape
    half = max(net.width(width * expand) // 2, 1)
    y = net.dense(ops.layer_norm(net, x), 2 * half, o.get("act", "gelu"))
    left, right = net.split(y, [half] * 2, 2)
    right = net.dense(ops.transpose(net, ops.layer_norm(net, right), 0, 2, 1), length)
    y = ops.binary(net, "Mul", left, ops.transpose(net, right, 0, 2, 1))
    return ops.binary(net, "Add", x, net.dense(y, width))


def _plane_attention(net: Network, x: Value, _: int, o: Options) -> Value:
    """Diffusion networks: every position of a plane attends to every other."""
    n, c, h, w = x.shape
    query, key, value = net.split(ops.reshape(net, net.conv(x, 3 * c), n, 3 * c, h * w), [c] * 3, 1)
    scores = ops.product(net, ops.transpose(net, query, 0, 2, 1), key)
    scores = ops.softmax(net, ops.with_scalar(net, "Mul", scores, c**-0.5))
    mixed = ops.product(net, value, ops.transpose(net, scores, 0, 2, 1))
    return ops.binary(net, "Add", x, net.conv(ops.reshape(net, mixed, n, c, h, w), c))


def _take(net: Network, x: Value, index: int, o: Options) -> Value:
    """One position of a sequence."""
    return ops.take(net, x, 1, index)


def _linear(net: Network, x: Value, features: int, o: Options) -> Value:
    """A matrix product over the last axis, of fixed width."""
    return net.dense(x, features, o.get("act"), bias=o.get("bias", True))


ATTENTION_BLOCKS: dict[str, Callable[[Network, Value, Any, Options], Value]] = {
    "tokens": _tokens,
    "sequence": _sequence,
    "class_token": _class_token,
    "decoder": _decoder,
    "masked_encoder": _masked_encoder,
    "masked_mean": _masked_mean,
    "torch_encoder": _torch_encoder,
    "window_encoder": _window_encoder,
    "fused_encoder": _fused_encoder,
    "channels_last": _channels_last,
    "shifted": _shifted,
    "gated_mlp": _gated_mlp,
    "plane_attention": _plane_attention,
    "take": _take,
    "linear": _linear,
}

"""More building blocks over planes and signals: normalized, gated, transposed, shuffled and padded convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from autocompress.latency.zoo import operators as ops
from autocompress.latency.zoo.blocks import Options
from autocompress.latency.zoo.network import Network, Value


def _patchify(net: Network, x: Value, channels: int, o: Options) -> Value:
    """Non-overlapping patches."""
    size = o.get("size", 4)
    return net.conv(x, net.width(channels), size, stride=size, padding=0, act=o.get("act"))


def _focus(net: Network, x: Value, _: int, o: Options) -> Value:
    """YOLO: the four neighbours of every other position go into the channels."""
    rows = [ops.cut(net, x, 2, i, x.shape[2], 2) for i in range(2)]
    return ops.concat(net, [ops.cut(net, rows[i], 3, j, x.shape[3], 2) for j in range(2) for i in range(2)], 1)


def _mixer_conv(net: Network, x: Value, kernel: int, o: Options) -> Value:
    """ConvMixer: a large depthwise kernel around which the input is added, then a pointwise convolution."""
    act = o.get("act", "gelu")
    mixed = net.conv(x, x.shape[1], kernel, group=x.shape[1], act=act)
    return net.conv(ops.binary(net, "Add", mixed, x), x.shape[1], act=act)


def _channel_norm(net: Network, x: Value, _: int, o: Options) -> Value:
    """Layer normalization over the channels of a plane, which go last for it."""
    return ops.transpose(net, ops.layer_norm(net, ops.transpose(net, x, 0, 2, 3, 1)), 0, 3, 1, 2)


def _gated_plane(net: Network, x: Value, expand: int, o: Options) -> Value:
    """NAFNet: normalized, depthwise, halves multiplied, channels weighted by their means; then a gated product."""
    channels = x.shape[1]
    y = net.conv(_channel_norm(net, x, 0, o), channels * expand)
    y = _half_product(net, net.conv(y, y.shape[1], o.get("kernel", 3), group=y.shape[1]))
    means = ops.reduce(net, "ReduceMean", y, [2, 3], keep=True)
    y = ops.binary(net, "Mul", y, net.conv(means, y.shape[1]))
    x = ops.binary(net, "Add", x, ops.with_vector(net, "Mul", net.conv(y, channels), (1, channels, 1, 1)))
    y = _half_product(net, net.conv(_channel_norm(net, x, 0, o), channels * expand))
    return ops.binary(net, "Add", x, ops.with_vector(net, "Mul", net.conv(y, channels), (1, channels, 1, 1)))


def _half_product(net: Network, x: Value) -> Value:
    left, right = net.split(x, [x.shape[1] // 2] * 2, 1)
    return ops.binary(net, "Mul", left, right)


def _group_norm(net: Network, x: Value, groups: int, o: Options) -> Value:
    """Group normalization as exporters write it: an instance normalization of groups, then scale and shift."""
    groups = math.gcd(groups, x.shape[1])
    ones = np.ones(groups, np.float32)
    y = ops.reshape(net, x, x.shape[0], groups, -1)
    y = net.op("InstanceNormalization", [y], y.shape, constants=[ones, ones * 0])
    y = ops.reshape(net, y, *x.shape)
    of_channels = (x.shape[1], *[1] * (len(x.shape) - 2))
    y = ops.with_vector(net, "Add", ops.with_vector(net, "Mul", y, of_channels), of_channels)
    return net.activate(y, o.get("act"), integer=False)


def _instance_norm(net: Network, x: Value, _: int, o: Options) -> Value:
    ones = np.ones(x.shape[1], np.float32)
    y = net.op("InstanceNormalization", [x], x.shape, constants=[ones, ones * 0])
    return net.activate(y, o.get("act"), integer=False)


def _local_norm(net: Network, x: Value, size: int, o: Options) -> Value:
    """AlexNet: local response normalization."""
    return net.op("LRN", [x], x.shape, size=size)


def _diffusion(net: Network, x: Value, groups: int, o: Options) -> Value:
    """A residual block of a diffusion network: normalized, SiLU, and scaled and shifted by an embedding of the time."""
    y = net.conv(_group_norm(net, x, groups, {"act": "silu"}), x.shape[1], 3)
    y = _group_norm(net, y, groups, {})
    scale, shift = net.split(_time_embedding(net, x, 2 * x.shape[1]), [x.shape[1]] * 2, 1)
    y = ops.binary(net, "Mul", y, ops.with_scalar(net, "Add", scale, 1.0))
    y = net.activate(ops.binary(net, "Add", y, shift), "silu", integer=False)
    return ops.binary(net, "Add", x, net.conv(y, x.shape[1], 3))


def _time_embedding(net: Network, x: Value, features: int) -> Value:
    """Sines and cosines of a number, and a layer: of shape (1, features, 1, 1)."""
    time = ops.reduce(net, "ReduceMax", x, [1, 2, 3])
    angles = ops.with_vector(net, "Mul", ops.unsqueeze(net, time, 1), (x.shape[1] // 2,))
    waves = ops.concat(net, [ops.unary(net, "Sin", angles), ops.unary(net, "Cos", angles)], 1)
    layer = net.dense(net.activate(waves, "silu", integer=False), features)
    return ops.unsqueeze(net, ops.unsqueeze(net, layer, 2), 3)


def _transposed(net: Network, x: Value, channels: int, o: Options) -> Value:
    """A transposed convolution; not pruned where it has groups or where ``fixed`` says so."""
    groups = o.get("groups", 1)
    return net.conv_transpose(
        x,
        channels if groups > 1 or o.get("fixed") else net.width(channels),
        o.get("kernel", 2),
        stride=o.get("stride", 2),
        padding=o.get("padding", 0),
        group=groups,
        act=o.get("act"),
    )


def _pixel_shuffle(net: Network, x: Value, factor: int, o: Options) -> Value:
    """Channels become a finer plane."""
    n, c, h, w = x.shape
    shape = (n, c // factor**2, h * factor, w * factor)
    return net.op("DepthToSpace", [x], shape, blocksize=factor, mode="CRD")


def _scaled_residual(net: Network, x: Value, channels: int, o: Options) -> Value:
    """EDSR: two convolutions whose result is scaled down before it is added."""
    y = net.conv(net.conv(x, net.width(channels), 3, act="relu"), x.shape[1], 3)
    return ops.binary(net, "Add", x, ops.with_scalar(net, "Mul", y, 0.1))


def _padded_shortcut(net: Network, x: Value, channels: int, o: Options) -> Value:
    """The first ResNet for CIFAR: a shortcut without weights takes every other position and adds zero channels."""
    stride, channels = o.get("stride", 1), max(channels, x.shape[1])
    y = net.conv(net.conv(x, channels, 3, stride=stride, act="relu"), channels, 3)
    for axis in (2, 3) if stride > 1 else ():
        x = ops.cut(net, x, axis, 0, x.shape[axis], stride)
    more = channels - x.shape[1]
    if more:
        x = ops.pad(net, x, [0, more // 2, 0, 0], [0, more - more // 2, 0, 0])
    return net.activate(ops.binary(net, "Add", y, x), "relu", integer=False)


def _padded_conv(net: Network, x: Value, channels: int, o: Options) -> Value:
    """A convolution after explicit padding, by reflection or zeros, on both sides or, in time, only before."""
    kernel, dilation = o.get("kernel", 3), o.get("dilation", 1)
    size = dilation * (kernel - 1)
    plane = len(x.shape) - 2
    before, after = ([size] * plane, [0] * plane) if o.get("causal") else ([size // 2] * plane, [size // 2] * plane)
    x = ops.pad(net, x, [0, 0, *before], [0, 0, *after], o.get("mode", "constant"))
    return net.conv(x, net.width(channels), kernel, dilation=dilation, padding=0, act=o.get("act"))


def _gated_signal(net: Network, x: Value, kernel: int, o: Options) -> Value:
    """WaveNet: a causal dilated convolution, tanh of one half times sigmoid of the other, and a residual."""
    size = o.get("dilation", 1) * (kernel - 1)
    y = ops.pad(net, x, [0, 0, size], [0, 0, 0])
    y = net.conv(y, 2 * x.shape[1], kernel, dilation=o.get("dilation", 1), padding=0)
    left, right = net.split(y, [x.shape[1]] * 2, 1)
    y = ops.binary(net, "Mul", ops.unary(net, "Tanh", left), ops.unary(net, "Sigmoid", right))
    return ops.binary(net, "Add", x, net.conv(y, x.shape[1]))


def _conformer(net: Network, x: Value, kernel: int, o: Options) -> Value:
    """The convolution module of a Conformer, over (batch, steps, features)."""
    width = x.shape[2]
    y = ops.transpose(net, ops.layer_norm(net, x), 0, 2, 1)
    left, right = net.split(net.conv(y, 2 * width), [width] * 2, 1)
    y = ops.binary(net, "Mul", left, ops.unary(net, "Sigmoid", right))
    y = net.conv(net.conv(y, width, kernel, group=width, act="silu"), width)
    return ops.binary(net, "Add", x, ops.transpose(net, y, 0, 2, 1))


def _grouped_shuffle(net: Network, x: Value, channels: int, o: Options) -> Value:
    """ShuffleNet v1: grouped pointwise, channels shuffled over the groups, depthwise, grouped pointwise, residual."""
    groups, stride = o.get("groups", 3), o.get("stride", 1)
    result = channels - x.shape[1] if stride > 1 else channels
    y = net.conv(x, channels // 4, group=groups, act="relu")
    n, c, h, w = y.shape
    y = ops.transpose(net, ops.reshape(net, y, n, groups, c // groups, h, w), 0, 2, 1, 3, 4)
    y = net.conv(ops.reshape(net, y, n, c, h, w), c, 3, stride=stride, group=c)
    y = net.conv(y, result, group=groups)
    if stride == 1:
        return net.activate(ops.binary(net, "Add", x, y), "relu", integer=False)
    pooled = net.op("AveragePool", [x], (n, x.shape[1], *y.shape[2:]), kernel_shape=[3, 3], strides=[stride] * 2,
                    pads=[1] * 4)  # fmt: skip
    return net.activate(ops.concat(net, [pooled, y], 1), "relu", integer=False)


def _split_csp(net: Network, x: Value, channels: int, o: Options) -> Value:
    """Newer YOLOs: channels split once, each bottleneck adds a further part, all parts joined."""
    half, act = max(net.width(channels // 2) // 2 * 2, 2), o.get("act", "silu")
    parts = net.split(net.conv(x, 2 * half, act=act), [half] * 2, 1)
    for _ in range(o.get("layers", 1)):
        y = net.conv(net.conv(parts[-1], half, 3, act=act), half, 3, act=act)
        parts.append(ops.binary(net, "Add", y, parts[-1]))
    return net.conv(ops.concat(net, parts, 1), net.width(channels), act=act)


def _fast_pyramid(net: Network, x: Value, channels: int, o: Options) -> Value:
    """Newer YOLOs: the same pooling three times, all results joined."""
    pooled = [net.conv(x, net.width(channels // 2), act="silu")]
    for _ in range(3):
        y = pooled[-1]
        pooled.append(net.op("MaxPool", [y], y.shape, kernel_shape=[5, 5], pads=[2] * 4))
    return net.conv(ops.concat(net, pooled, 1), net.width(channels), act="silu")


def _dilated_pyramid(net: Network, x: Value, channels: int, o: Options) -> Value:
    """DeepLab: convolutions of several dilations and the stretched mean side by side."""
    channels = net.width(channels)
    parts = [net.conv(x, channels, act="relu")]
    parts += [net.conv(x, channels, 3, dilation=d, act="relu") for d in o.get("dilations", (6, 12, 18))]
    mean = net.conv(ops.reduce(net, "ReduceMean", x, [2, 3], keep=True), channels, act="relu")
    parts.append(_resized(net, mean, x.shape[2:], "linear"))
    return net.conv(ops.concat(net, parts, 1), channels, act="relu")


def _resized(net: Network, x: Value, plane: tuple[int, ...], mode: str) -> Value:
    empty, shape = np.asarray([], np.float32), (*x.shape[:2], *plane)
    return net.op("Resize", [x], shape, constants=[empty, empty, np.asarray(shape, np.int64)], mode=mode,
                  coordinate_transformation_mode="half_pixel")  # fmt: skip


def _fused_inverted(net: Network, x: Value, channels: int, o: Options) -> Value:
    """EfficientNet v2: expansion and depthwise step fused into one dense convolution."""
    act, stride = o.get("act", "silu"), o.get("stride", 1)
    y = net.conv(x, net.width(x.shape[1] * o.get("expand", 4)), 3, stride=stride, act=act)
    y = net.conv(y, net.width(channels))
    return ops.binary(net, "Add", y, x) if y.shape == x.shape else y


def _grouped_bottleneck(net: Network, x: Value, channels: int, o: Options) -> Value:
    """SE-ResNeXt: a bottleneck with groups of a given width and weighted channels."""
    width, stride = o.get("group_width", 8), o.get("stride", 1)
    inner = max(net.width(channels) // width, 1) * width
    y = net.conv(net.conv(x, inner, act="relu"), inner, 3, stride=stride, group=inner // width, act="relu")
    y = net.conv(y, net.width(channels * 2))
    means = ops.reduce(net, "ReduceMean", y, [2, 3], keep=True)
    gate = net.conv(net.conv(means, max(y.shape[1] // 16, 4), act="relu"), y.shape[1], act="sigmoid")
    y = ops.binary(net, "Mul", y, gate)
    if x.shape != y.shape:
        x = net.conv(x, y.shape[1], stride=stride)
    return net.activate(ops.binary(net, "Add", y, x), "relu", integer=False)


CONVOLUTIONAL_BLOCKS: dict[str, Callable[[Network, Value, Any, Options], Value]] = {
    "patchify": _patchify,
    "focus": _focus,
    "mixer_conv": _mixer_conv,
    "channel_norm": _channel_norm,
    "gated_plane": _gated_plane,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "local_norm": _local_norm,
    "diffusion": _diffusion,
    "transposed": _transposed,
    "pixel_shuffle": _pixel_shuffle,
    "scaled_residual": _scaled_residual,
    "padded_shortcut": _padded_shortcut,
    "padded_conv": _padded_conv,
    "gated_signal": _gated_signal,
    "conformer": _conformer,
    "grouped_shuffle": _grouped_shuffle,
    "split_csp": _split_csp,
    "fast_pyramid": _fast_pyramid,
    "dilated_pyramid": _dilated_pyramid,
    "fused_inverted": _fused_inverted,
    "grouped_bottleneck": _grouped_bottleneck,
}

"""Building blocks of the architectures: each is one entry of ``architectures.yaml``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autocompress.latency.zoo.network import Network, Value

Options = Mapping[str, Any]


def _conv(net: Network, x: Value, channels: int, o: Options) -> Value:
    return net.conv(x, net.width(channels), o.get("kernel", 3), stride=o.get("stride", 1), act=o.get("act"),
                    dilation=o.get("dilation", 1))  # fmt: skip


def _fixed_conv(net: Network, x: Value, channels: int, o: Options) -> Value:
    """A convolution whose number of channels means something and is never pruned."""
    return net.conv(x, channels, o.get("kernel", 3), stride=o.get("stride", 1), act=o.get("act"))


def _separable(net: Network, x: Value, channels: int, o: Options) -> Value:
    """MobileNet v1, DS-CNN: depthwise, then pointwise."""
    act = o.get("act", "relu")
    x = net.conv(x, x.shape[1], o.get("kernel", 3), stride=o.get("stride", 1), group=x.shape[1], act=act)
    return net.conv(x, net.width(channels), act=act)


def _basic(net: Network, x: Value, channels: int, o: Options) -> Value:
    """ResNet: two 3x3 convolutions and a shortcut."""
    channels, stride = net.width(channels), o.get("stride", 1)
    y = net.conv(x, channels, 3, stride=stride, act="relu")
    return _residual(net, x, net.conv(y, channels, 3), stride)


def _bottleneck(net: Network, x: Value, channels: int, o: Options) -> Value:
    """ResNet: 1x1, 3x3 (grouped in ResNeXt), 1x1 and a shortcut."""
    inner, stride = net.width(channels), o.get("stride", 1)
    groups = o.get("groups", 1)
    inner = max(inner // groups, 1) * groups
    y = net.conv(x, inner, act="relu")
    y = net.conv(y, inner, 3, stride=stride, group=groups, act="relu")
    return _residual(net, x, net.conv(y, net.width(channels * 4)), stride)


def _residual(net: Network, x: Value, y: Value, stride: int) -> Value:
    if x.shape != y.shape:
        x = net.conv(x, y.shape[1], stride=stride)
    integer = net.is_integer()
    return net.activate(net.op("Add", [y, x], y.shape, integer=integer, requantize=False), "relu", integer=integer)


def _inverted(net: Network, x: Value, channels: int, o: Options) -> Value:
    """MobileNet v2 and v3, EfficientNet: expand, depthwise, squeeze and excite, project."""
    act, stride = o.get("act", "relu6"), o.get("stride", 1)
    expanded = net.width(round(x.shape[1] * o.get("expand", 6)))
    y = net.conv(x, expanded, act=act) if o.get("expand", 6) != 1 else x
    y = net.conv(y, y.shape[1], o.get("kernel", 3), stride=stride, group=y.shape[1], act=act)
    if o.get("squeeze"):
        y = _squeeze_excite(net, y, max(x.shape[1] // o["squeeze"], 4), act)
    y = net.conv(y, net.width(channels))
    if stride == 1 and y.shape == x.shape:
        return net.op("Add", [y, x], y.shape, integer=net.is_integer())
    return y


def _squeeze_excite(net: Network, x: Value, inner: int, act: str) -> Value:
    integer = net.is_integer()
    pooled = net.op("GlobalAveragePool", [x], (*x.shape[:2], 1, 1), integer=integer)
    gate = net.conv(pooled, inner, act="silu" if act == "silu" else "relu")
    gate = net.conv(gate, x.shape[1], act="sigmoid" if act == "silu" else "hardsigmoid")
    return net.op("Mul", [x, gate], x.shape, integer=integer)


def _shuffle(net: Network, x: Value, channels: int, o: Options) -> Value:
    """ShuffleNet v2: half the channels pass, half are convolved, then all are shuffled."""
    stride = o.get("stride", 1)
    half = channels // 2
    if stride == 1 and x.shape[1] == 2 * half:
        left, right = _halves(net, x)
    else:
        left = net.conv(net.conv(x, x.shape[1], 3, stride=stride, group=x.shape[1]), half, act="relu")
        right = x
    right = net.conv(right, half if stride == 1 else right.shape[1], act="relu")
    right = net.conv(right, right.shape[1], 3, stride=stride, group=right.shape[1])
    return _shuffled(net, _concat(net, [left, net.conv(right, half, act="relu")]))


def _halves(net: Network, x: Value) -> tuple[Value, Value]:
    half = x.shape[1] // 2
    shape = (x.shape[0], half, *x.shape[2:])
    integer = net.is_integer()
    cut = [[np.asarray([v], np.int64) for v in (start, end, 1)] for start, end in ((0, half), (half, 2 * half))]
    left, right = (net.op("Slice", [x], shape, constants=c, integer=integer) for c in cut)
    return left, right


def _shuffled(net: Network, x: Value) -> Value:
    n, c, h, w = x.shape
    integer = net.is_integer()
    x = net.op("Reshape", [x], (n, 2, c // 2, h, w), constants=[np.asarray([n, 2, c // 2, h, w])], integer=integer)
    x = net.op("Transpose", [x], (n, c // 2, 2, h, w), integer=integer, perm=[0, 2, 1, 3, 4])
    return net.op("Reshape", [x], (n, c, h, w), constants=[np.asarray([n, c, h, w])], integer=integer)


def _concat(net: Network, parts: list[Value]) -> Value:
    first = parts[0].shape
    shape = (first[0], sum(p.shape[1] for p in parts), *first[2:])
    return net.op("Concat", parts, shape, integer=net.is_integer(), axis=1)


def _dense_block(net: Network, x: Value, growth: int, o: Options) -> Value:
    """DenseNet: each layer sees all before it."""
    for _ in range(o.get("layers", 4)):
        y = net.conv(net.conv(x, net.width(growth * 4), act="relu"), net.width(growth), 3, act="relu")
        x = _concat(net, [x, y])
    return x


def _fire(net: Network, x: Value, channels: int, o: Options) -> Value:
    """SqueezeNet: squeeze, then 1x1 and 3x3 side by side."""
    y = net.conv(x, net.width(channels // 4), act="relu")
    return _concat(net, [net.conv(y, net.width(channels), act="relu"), net.conv(y, net.width(channels), 3, act="relu")])


def _inception(net: Network, x: Value, channels: int, o: Options) -> Value:
    """Inception: 1x1, 3x3, factorized 7x7 and pooled branches."""
    c = net.width(channels)
    wide = net.conv(net.conv(net.conv(x, c, act="relu"), c, (1, 7), act="relu"), c, (7, 1), act="relu")
    three = net.conv(net.conv(x, c, act="relu"), c, 3, act="relu")
    pooled = net.op("AveragePool", [x], x.shape, integer=net.is_integer(), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return _concat(net, [net.conv(x, c, act="relu"), three, wide, net.conv(pooled, c, act="relu")])


def _csp(net: Network, x: Value, channels: int, o: Options) -> Value:
    """YOLO: a cross-stage partial block of SiLU convolutions; depthwise in the nano models."""
    half, act = net.width(channels // 2), o.get("act", "silu")
    left, right = net.conv(x, half, act=act), net.conv(x, half, act=act)
    for _ in range(o.get("layers", 1)):
        y = net.conv(left, half, act=act)
        if o.get("depthwise"):
            y = net.conv(y, half, 3, group=half, act=act)
            y = net.conv(y, half, act=act)
        else:
            y = net.conv(y, half, 3, act=act)
        left = net.op("Add", [y, left], y.shape, integer=net.is_integer())
    return net.conv(_concat(net, [left, right]), net.width(channels), act=act)


def _spp(net: Network, x: Value, channels: int, o: Options) -> Value:
    """Spatial pyramid pooling."""
    y = net.conv(x, net.width(channels // 2), act="silu")
    pooled = [y]
    for k in (5, 9, 13):
        pooled.append(net.op("MaxPool", [y], y.shape, integer=net.is_integer(), kernel_shape=[k, k], pads=[k // 2] * 4))
    return net.conv(_concat(net, pooled), net.width(channels), act="silu")


def _maxpool(net: Network, x: Value, kernel: int, o: Options) -> Value:
    return _pool(net, x, "MaxPool", kernel, o)


def _avgpool(net: Network, x: Value, kernel: int, o: Options) -> Value:
    return _pool(net, x, "AveragePool", kernel, o)


def _pool(net: Network, x: Value, op_type: str, kernel: int, o: Options) -> Value:
    stride = o.get("stride", kernel)
    pad = (kernel - 1) // 2
    shape = (*x.shape[:2], *((s + 2 * pad - kernel) // stride + 1 for s in x.shape[2:]))
    return net.op(op_type, [x], shape, integer=net.is_integer(), kernel_shape=[kernel, kernel],
                  strides=[stride, stride], pads=[pad] * 4)  # fmt: skip


def _upsample(net: Network, x: Value, factor: int, o: Options) -> Value:
    shape = (*x.shape[:2], *(s * factor for s in x.shape[2:]))
    scales = np.asarray([1, 1, factor, factor], np.float32)
    mode = o.get("mode", "nearest")
    integer = net.is_integer() and mode == "nearest"
    return net.op("Resize", [x], shape, constants=[np.asarray([], np.float32), scales], integer=integer, mode=mode)


def _batch_norm(net: Network, x: Value, _: int, o: Options) -> Value:
    """A normalization that nothing folds away, as after a concatenation."""
    ones = np.ones(x.shape[1], np.float32)
    return net.op("BatchNormalization", [x], x.shape, constants=[ones, ones, ones, ones])


def _global_pool(net: Network, x: Value, _: int, o: Options) -> Value:
    return net.op("GlobalAveragePool", [x], (*x.shape[:2], 1, 1), integer=net.is_integer())


def _head(net: Network, x: Value, classes: int, o: Options) -> Value:
    """Global pooling where there is a plane, then one matrix product."""
    if len(x.shape) == 4:
        integer = net.is_integer()
        x = _global_pool(net, x, 0, o)
        x = net.op("Flatten", [x], x.shape[:2], integer=integer)
    return net.dense(x, classes)


def _flatten(net: Network, x: Value, _: int, o: Options) -> Value:
    size = int(np.prod(x.shape[1:]))
    return net.op("Flatten", [x], (x.shape[0], size), integer=net.is_integer())


def _fully_connected(net: Network, x: Value, features: int, o: Options) -> Value:
    return net.dense(x, net.width(features), o.get("act", "relu"))


def _softmax(net: Network, x: Value, _: int, o: Options) -> Value:
    return net.op("Softmax", [x], x.shape, integer=net.is_integer(), axis=-1)


BLOCKS: dict[str, Callable[[Network, Value, Any, Options], Value]] = {
    "conv": _conv,
    "fixed_conv": _fixed_conv,
    "separable": _separable,
    "basic": _basic,
    "bottleneck": _bottleneck,
    "inverted": _inverted,
    "shuffle": _shuffle,
    "dense_block": _dense_block,
    "fire": _fire,
    "inception": _inception,
    "csp": _csp,
    "spp": _spp,
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "upsample": _upsample,
    "batch_norm": _batch_norm,
    "head": _head,
    "flatten": _flatten,
    "fully_connected": _fully_connected,
    "softmax": _softmax,
}

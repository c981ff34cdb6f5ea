"""What stands before and after the layers of a network: feature extraction, decoding, pooling, classification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autocompress.latency.zoo import operators as ops
from autocompress.latency.zoo.blocks import Options
from autocompress.latency.zoo.network import Network, Value


def _reduced(net: Network, x: Value, axes: list[int], o: Options) -> Value:
    """A reduction over some axes."""
    return ops.reduce(net, o.get("by", "ReduceMean"), x, axes)


def _log_softmax(net: Network, x: Value, axis: int, o: Options) -> Value:
    return net.op("LogSoftmax", [x], x.shape, axis=axis)


def _class_softmax(net: Network, x: Value, axis: int, o: Options) -> Value:
    """Softmax over any axis."""
    return ops.softmax(net, x, axis)


def _class_map(net: Network, x: Value, classes: int, o: Options) -> Value:
    """Segmentation: scores stretched to the size of the image, and the best class of each position."""
    n, _, h, w = x.shape
    shape = (n, classes, h * o.get("factor", 4), w * o.get("factor", 4))
    empty = np.asarray([], np.float32)
    y = net.op("Resize", [net.conv(x, classes)], shape, constants=[empty, empty, np.asarray(shape, np.int64)],
               mode="linear", coordinate_transformation_mode="half_pixel")  # fmt: skip
    best = net.op("ArgMax", [y], (n, *shape[2:]), axis=1, keepdims=0)
    return ops.cast(net, best)


def _box_decoder(net: Network, x: Value, bins: int, o: Options) -> Value:
    """Newer YOLOs: boxes as expectations over bins, corners to centres and sizes, class scores."""
    n, _, h, w = x.shape
    classes, places = o.get("classes", 20), h * w
    both = ops.concat(net, [net.conv(x, 4 * bins), net.conv(x, classes)], 1)
    boxes, scores = net.split(ops.reshape(net, both, n, 4 * bins + classes, places), [4 * bins, classes], 1)
    boxes = ops.transpose(net, ops.reshape(net, boxes, n, 4, bins, places), 0, 2, 1, 3)
    boxes = ops.reshape(net, net.conv(ops.softmax(net, boxes, 1), 1), n, 4, places)
    near, far = net.split(boxes, [2, 2], 1)
    first = ops.binary(net, "Sub", net.constant(np.full((1, 2, places), 8, np.float32)), near)
    last = ops.with_vector(net, "Add", far, (1, 2, places), first=True)
    centre = ops.with_scalar(net, "Div", ops.binary(net, "Add", first, last), 2.0)
    boxes = ops.concat(net, [centre, ops.binary(net, "Sub", last, first)], 1)
    boxes = ops.with_vector(net, "Mul", boxes, (1, places))
    return ops.concat(net, [boxes, ops.unary(net, "Sigmoid", scores)], 1)


def _peaks(net: Network, x: Value, count: int, o: Options) -> Value:
    """CenterNet: local maxima of a heat map, the best of them, and the sizes that stand at their places."""
    n, _, h, w = x.shape
    heat = net.conv(x, o.get("classes", 20), act="sigmoid")
    pooled = net.op("MaxPool", [heat], heat.shape, kernel_shape=[3, 3], pads=[1] * 4)
    kept = ops.cast(net, net.op("Equal", [pooled, heat], heat.shape))
    flat = ops.reshape(net, ops.binary(net, "Mul", heat, kept), n, -1)
    number = ops.integers(net, [count])
    scores, places = net.several("TopK", [flat, number], [(n, count), (n, count)], axis=-1)
    places = net.op("Mod", [places, ops.integers(net, h * w)], (n, count))
    sizes = ops.transpose(net, ops.reshape(net, net.conv(x, 4), n, 4, h * w), 0, 2, 1)
    places = ops.expand(net, ops.unsqueeze(net, places, 2), n, count, 4)
    found = net.op("GatherElements", [sizes, places], (n, count, 4), axis=1)
    return ops.concat(net, [found, ops.unsqueeze(net, scores, 2)], 2)


def _filter_bank(net: Network, x: Value, bands: int, o: Options) -> Value:
    """Speech: logarithms of spectral energies in bands, normalized over time, of shape (batch, bands, steps)."""
    y = net.dense(ops.binary(net, "Mul", x, x), bands, bias=False)
    floor = net.constant(np.asarray(1e-4, np.float32))
    y = ops.unary(net, "Log", ops.binary(net, "Max", y, floor))
    y = ops.binary(net, "Sub", y, ops.reduce(net, "ReduceMean", y, [1], keep=True))
    variance = ops.reduce(net, "ReduceMean", ops.with_scalar(net, "Pow", y, 2.0), [1], keep=True)
    y = ops.binary(net, "Div", y, ops.unary(net, "Sqrt", ops.with_scalar(net, "Add", variance, 1e-4)))
    return ops.transpose(net, y, 0, 2, 1)


def _statistics(net: Network, x: Value, _: int, o: Options) -> Value:
    """Speaker networks: mean and deviation over the steps of a signal, weighted by attention."""
    weights = ops.softmax(net, net.conv(net.conv(x, 32, act="tanh"), x.shape[1]), 2)
    mean = ops.reduce(net, "ReduceSum", ops.binary(net, "Mul", x, weights), [2])
    square = ops.reduce(net, "ReduceSum", ops.binary(net, "Mul", ops.with_scalar(net, "Pow", x, 2.0), weights), [2])
    variance = ops.binary(net, "Sub", square, ops.binary(net, "Mul", mean, mean))
    smallest = net.constant(np.asarray(1e-4, np.float32))
    deviation = ops.unary(net, "Sqrt", ops.binary(net, "Max", variance, smallest))
    return ops.concat(net, [mean, deviation], 1)


def _bilinear(net: Network, x: Value, _: int, o: Options) -> Value:
    """Products of all pairs of channels, summed over the plane."""
    n, c = x.shape[:2]
    y = net.op("Einsum", [x, x], (n, c, c), equation="nchw,nkhw->nck")
    root = ops.unary(net, "Sqrt", ops.with_scalar(net, "Add", ops.unary(net, "Abs", y), 1e-4))
    return ops.reshape(net, root, n, c * c)


def _interactions(net: Network, x: Value, width: int, o: Options) -> Value:
    """Recommendation: features looked up one by one, and the products of all pairs."""
    n, count = x.shape
    table = np.linspace(-1.0, 1.0, o.get("rows", 1000) * width, dtype=np.float32).reshape(-1, width)
    rows = [ops.unsqueeze(net, net.lookup(table, ops.take(net, x, 1, i)), 1) for i in range(count)]
    found = ops.concat(net, rows, 1)
    pairs = ops.reshape(net, ops.product(net, found, ops.transpose(net, found, 0, 2, 1)), n, count * count)
    upper = np.flatnonzero(np.triu(np.ones((count, count)), 1)).astype(np.int64)
    chosen = net.op("Gather", [pairs], (n, len(upper)), constants=[upper], axis=1)
    return ops.concat(net, [ops.reshape(net, found, n, -1), chosen], 1)


def _joined_mean(net: Network, x: Value, _: int, o: Options) -> Value:
    """Every position of a signal or plane beside the mean of all, as in point clouds and global context."""
    axes = list(range(2, len(x.shape)))
    mean = ops.reduce(net, o.get("by", "ReduceMax"), x, axes, keep=True)
    shape = np.asarray([1, 1, *x.shape[2:]], np.int64)
    tiled = net.op("Tile", [mean], x.shape, constants=[shape])
    return ops.concat(net, [x, tiled], 1)


def _threshold(net: Network, x: Value, _: int, o: Options) -> Value:
    """Denoising: what is small is set to a smoothed value."""
    size = ops.unary(net, "Abs", x)
    small = net.op("Greater", [net.constant(np.asarray(0.5, np.float32)), size], x.shape)
    smooth = net.activate(ops.with_scalar(net, "Sub", size, 0.5), "exp", integer=False)
    return ops.choose(net, small, smooth, ops.binary(net, "Min", x, net.constant(np.asarray(4.0, np.float32))))


HEAD_BLOCKS: dict[str, Callable[[Network, Value, Any, Options], Value]] = {
    "reduced": _reduced,
    "log_softmax": _log_softmax,
    "class_softmax": _class_softmax,
    "class_map": _class_map,
    "box_decoder": _box_decoder,
    "peaks": _peaks,
    "filter_bank": _filter_bank,
    "statistics": _statistics,
    "bilinear": _bilinear,
    "interactions": _interactions,
    "joined_mean": _joined_mean,
    "threshold": _threshold,
}

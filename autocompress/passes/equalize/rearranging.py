"""Operators that move values, and products with a matrix along axes where the channel stays the same."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import NodeProto

from autocompress.graph.index import attribute
from autocompress.passes.equalize.layout import Layout
from autocompress.passes.equalize.network import Network, NotScalable
from autocompress.passes.equalize.passage import Passage


def transpose(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Transpose."""
    perm = attribute(node, "perm")
    order = list(perm) if isinstance(perm, list) else list(range(layout.rank))[::-1]
    return Passage(((node.output[0], layout.permuted(order)),))


def reshape(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Reshape, Flatten, Squeeze and Unsqueeze."""
    before, after = network.sizes(node.input[0]), network.sizes(node.output[0])
    result = None if position or before is None or after is None else layout.reshaped(before, after)
    if result is None:
        raise NotScalable(f"too little is known about the sizes at {node.name!r}")
    return Passage(((node.output[0], result),))


def expand(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Expand: broadcasting."""
    if position:
        raise NotScalable(f"{node.name!r} reads it as a shape")
    return Passage(((node.output[0], layout.with_rank(network.rank(node.output[0]))),))


def pad(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Padding with zeros, or with what is there, along axes where the channel stays the same."""
    amounts = network.integers(node, 1)
    axes = network.integers(node, 3) if len(node.input) > 3 and node.input[3] else list(range(layout.rank))
    if position or amounts is None or axes is None:
        raise NotScalable(f"{node.name!r} pads by computed amounts")
    value = network.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    filled = len(node.input) > 2 and node.input[2] and (value is None or value.any())
    if filled and attribute(node, "mode", b"constant") == b"constant":
        raise NotScalable(f"{node.name!r} pads with a number that is not zero")
    padded = {axis % layout.rank for i, axis in enumerate(axes) if amounts[i] or amounts[i + len(axes)]}
    if any(layout.varies(axis) for axis in padded):
        raise NotScalable(f"{node.name!r} adds channels")
    return Passage(((node.output[0], layout),))


def resize(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Interpolation between values of one channel."""
    if position or attribute(node, "coordinate_transformation_mode", b"") == b"tf_crop_and_resize":
        raise NotScalable(f"{node.name!r} extrapolates")
    _keeps_varying_axes(node, layout, network)
    return Passage(((node.output[0], layout),))


def part(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Slice."""
    axes = network.integers(node, 3) if len(node.input) > 3 and node.input[3] else list(range(layout.rank))
    if position or axes is None:
        raise NotScalable(f"{node.name!r} is cut at a computed place")
    axes = [axis % layout.rank for axis in axes]
    if any(layout.varies(axis) for axis in axes):
        starts, ends = network.integers(node, 1), network.integers(node, 2)
        steps = network.integers(node, 4) if len(node.input) > 4 and node.input[4] else [1] * len(axes)
        if starts is None or ends is None or steps is None:
            raise NotScalable(f"{node.name!r} is cut at a computed place")
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            layout = layout.part(axis, start, end, step)
    return Passage(((node.output[0], layout),))


def split(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Split: each result has its part of the channels."""
    axis = int(str(attribute(node, "axis", 0))) % layout.rank
    if position:
        raise NotScalable(f"{node.name!r} reads it as sizes")
    outputs, start = [], 0
    for name in node.output:
        own = layout
        if layout.varies(axis):
            size = _size(name, axis, network)
            own = layout.part(axis, start, start + size)
            start += size
        outputs.append((name, own))
    return Passage(tuple(outputs))


def gather(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Gather along an axis where the channel stays the same (one token of a sequence)."""
    axis = int(str(attribute(node, "axis", 0))) % layout.rank
    if position or layout.varies(axis):
        raise NotScalable(f"{node.name!r} picks channels")
    indices = network.rank(node.input[1])
    result = layout.without(axis).squeezed([axis]).unsqueezed(range(axis, axis + indices))
    return Passage(((node.output[0], result),))


def product_of_matrices(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """A MatMul that sums over one channel at a time, as attention weights do with values."""
    other = node.input[1 - position]
    rank = network.rank(other)
    if min(rank, layout.rank) < 2:
        raise NotScalable(f"{node.name!r} multiplies a vector")
    summed = layout.rank - 1 - position
    if layout.varies(summed):
        raise NotScalable(f"{node.name!r} sums over channels with a computed matrix")
    return Passage(((node.output[0], layout.with_rank(max(rank, layout.rank))),), free=(other,))


def concatenated(node: NodeProto, layouts: Mapping[str, Layout], network: Network) -> Layout:
    """The layout behind a Concat, of whose operands those in ``layouts`` are scaled.

    Raises:
        NotScalable: an operand's size is not known.
    """
    rank = next(iter(layouts.values())).rank
    axis = int(str(attribute(node, "axis", 0))) % rank
    sizes = [_size(name, axis, network) for name in node.input]
    try:
        return Layout.joined([layouts.get(name) for name in node.input], sizes, axis)
    except ValueError as error:  # two operands whose channels change along different axes
        raise NotScalable(f"{node.name!r} joins channels of different kinds") from error


def _keeps_varying_axes(node: NodeProto, layout: Layout, network: Network) -> None:
    for axis in range(layout.rank):
        if layout.varies(axis) and _size(node.output[0], axis, network) != layout.ids.shape[axis]:
            raise NotScalable(f"{node.name!r} interpolates between channels")


def _size(name: str, axis: int, network: Network) -> int:
    sizes = network.sizes(name)
    size = sizes[axis] if sizes is not None else None
    if not isinstance(size, int):
        raise NotScalable(f"the size of {name!r} is not known")
    return size

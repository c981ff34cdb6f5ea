"""Operators that work on each channel by itself.

    relu(x / s) = relu(x) / s        for s > 0, and so for every function that is linear on both sides of zero
    mean(x / s) = mean(x) / s        over positions of one channel; max and sum as well
    (x / s) * y = (x * y) / s        with one factor scaled
    x / s + y / s = (x + y) / s      with all terms scaled

for positive s, which is what a rule promises for the operand it is asked about.
"""

from __future__ import annotations

import math

from onnx import NodeProto

from autocompress.graph.index import attribute
from autocompress.passes.equalize.layout import Layout
from autocompress.passes.equalize.network import Network, NotScalable
from autocompress.passes.equalize.passage import Passage

UNARY = frozenset({"Abs", "Identity", "LeakyRelu", "Neg", "PRelu", "Relu"})
POOLING = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})
REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"})


def unary(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Relu and its like; a slope stays."""
    if position:
        raise NotScalable(f"{node.name!r} reads it as a slope")
    return Passage(((node.output[0], layout),), free=tuple(node.input[1:]))


def size_only(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Shape and Size: what the values are does not matter."""
    return Passage(())


def clip(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Clip from zero; who lets channels pass an upper bound has to keep them from reaching it."""
    lower = _bound(node, 1, network)
    if position or lower != 0.0:
        raise NotScalable(f"{node.name!r} clips at {lower:g}" if lower is not None else f"{node.name!r} clips")
    return Passage(((node.output[0], layout),))


def upper_bound(node: NodeProto, network: Network) -> float:
    """Where a Clip ends, infinity where it does not.

    Raises:
        NotScalable: the bound is computed.
    """
    bound = _bound(node, 2, network)
    if bound is None:
        raise NotScalable(f"{node.name!r} clips at a computed bound")
    return bound


def pooling(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Pooling over the positions of each channel."""
    if any(layout.varies(axis) for axis in range(2, layout.rank)):
        raise NotScalable(f"{node.name!r} pools over different channels")
    return Passage(((node.output[0], layout),))


def reduction(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Mean, sum and extremes over axes along which the channel stays the same."""
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1:
        axes = network.integers(node, 1)
    if position or not isinstance(axes, list):
        raise NotScalable(f"{node.name!r} reduces every axis")
    axes = [axis % layout.rank for axis in axes]
    if any(layout.varies(axis) for axis in axes):
        raise NotScalable(f"{node.name!r} reduces over different channels")
    result = layout if attribute(node, "keepdims", 1) else layout.squeezed(axes)
    return Passage(((node.output[0], result),))


def product(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Mul, and Div of a numerator: the other operand stays."""
    if node.op_type == "Div" and position:
        raise NotScalable(f"{node.name!r} divides by it")
    other = node.input[1 - position]
    whole = layout.with_rank(max(layout.rank, network.rank(other)))
    return Passage(((node.output[0], whole),), free=(other,))


def sum_of(node: NodeProto, position: int, layout: Layout, network: Network) -> Passage:
    """Add, Sub and Sum: every other term has to be scaled as well."""
    whole = layout.with_rank(max(layout.rank, *(network.rank(name) for name in node.input)))
    tied, constants = [], []
    for i, name in enumerate(node.input):
        if i == position:
            continue
        if network.index.is_constant(name):
            constants.append((i, constant_layout(name, whole, network)))
        else:
            tied.append((name, _term_layout(name, whole, network)))
    return Passage(((node.output[0], whole),), tuple(tied), tuple(constants))


def _term_layout(name: str, whole: Layout, network: Network) -> Layout:
    sizes = network.sizes(name) or ()
    own = whole.trailing(len(sizes))
    if own is None or not own.fits(sizes):
        raise NotScalable(f"{name!r} is added to several channels")
    return own


def constant_layout(name: str, whole: Layout, network: Network) -> Layout:
    """The layout of a constant operand, given that of the result.

    One number may become one per channel; a larger constant has to have the channels already.

    Raises:
        NotScalable: the constant would grow.
    """
    sizes = tuple(network.index.initializers[name].dims)
    own = whole
    while own.rank > len(sizes) and not own.varies(0):
        own = own.squeezed([0])
    padded = (1,) * (own.rank - len(sizes)) + sizes
    if math.prod(sizes) > 1 and any(own.varies(axis) and size == 1 for axis, size in enumerate(padded)):
        raise NotScalable(f"the constant {name!r} is added across channels")
    return own


def _bound(node: NodeProto, position: int, network: Network) -> float | None:
    """A bound of a Clip, infinite where there is none, None where it is computed."""
    name = node.input[position] if position < len(node.input) else ""
    if not name:
        return -math.inf if position == 1 else math.inf
    values = network.constant(name)
    return None if values is None or values.size != 1 else float(values.reshape(-1)[0])

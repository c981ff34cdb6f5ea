"""Nodes whose result can be scaled per channel by changing their constants.

    (W x + b) / s = (W / s) x + b / s              Conv, ConvTranspose, Gemm, MatMul: rows of W
    (g n(x) + b) / s = (g / s) n(x) + b / s        normalizations with a scale per channel
    (g x) / s = (g / s) x                          Mul by one constant per channel

so a producer is where a group of channels can start: nothing before it needs to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from onnx import NodeProto

from autocompress.graph.index import attribute
from autocompress.graph.walk import is_standard
from autocompress.passes.equalize.elementwise import constant_layout
from autocompress.passes.equalize.layers import output_channels
from autocompress.passes.equalize.layout import IdArray, Layout
from autocompress.passes.equalize.network import Network, NotScalable

# Operator -> positions of its constants per channel, and its channel axis.
_NORMALIZATIONS = {
    "LayerNormalization": ((1, 2), -1),
    "RMSNormalization": ((1,), -1),
    "SimplifiedLayerNormalization": ((1,), -1),
    "BatchNormalization": ((1, 2), 1),
    "InstanceNormalization": ((1, 2), 1),
}
NORMALIZATIONS = frozenset(_NORMALIZATIONS)


@dataclass(frozen=True)
class Producer:
    """How a node's result is scaled.

    Attributes:
        node: its name.
        ids: channel of each output channel of its weight, None where it has no weight matrix.
        constants: (operand position, layout) of the vectors that are divided.
    """

    node: str
    ids: IdArray | None
    constants: tuple[tuple[int, Layout], ...]


def is_producer(node: NodeProto, network: Network) -> bool:
    """Whether a node's first result could be scaled, as far as its operator tells."""
    if network.has_layer_weight(node) or (is_standard(node.domain) and node.op_type in NORMALIZATIONS):
        return True
    return node.op_type == "Mul" and any(_is_vector(name, network) for name in node.input)


def producer(node: NodeProto, layout: Layout, network: Network) -> Producer:
    """How ``node`` divides its first result by one factor per channel of ``layout``.

    Raises:
        NotScalable: it cannot.
    """
    if network.has_layer_weight(node):
        return _layer(node, layout, network)
    if node.op_type in _NORMALIZATIONS:
        return _normalization(node, layout, network)
    if node.op_type == "Mul":
        return _multiplication(node, layout, network)
    raise NotScalable(f"{node.name!r} ({node.op_type}) computes it")


def own_layout(node: NodeProto, network: Network) -> Layout:
    """The layout of a producer's result whose channels are its own, counted from zero.

    Raises:
        NotScalable: too little is known.
    """
    rank = network.rank(node.output[0])
    if network.has_layer_weight(node):
        count = output_channels(node, network.index.initializers[node.input[1]])
        return Layout.along(_axis(node), rank, np.arange(count))
    if node.op_type in _NORMALIZATIONS:
        count = (
            int(network.index.initializers[node.input[1]].dims[0]) if network.index.is_constant(node.input[1]) else 0
        )
        return Layout.along(_axis(node), rank, np.arange(count))
    sizes = next(network.index.initializers[name].dims for name in node.input if _is_vector(name, network))
    behind = next(i for i, size in enumerate(reversed(sizes)) if size > 1)
    return Layout.along(rank - 1 - behind, rank, np.arange(max(sizes)))


def _layer(node: NodeProto, layout: Layout, network: Network) -> Producer:
    weight = node.input[1]
    network.check_constant(weight)
    network.check_own(weight)
    ids = layout.vector(_axis(node), output_channels(node, network.index.initializers[weight]))
    if ids is None:
        raise NotScalable(f"the channels are not the outputs of {node.name!r}")
    bias = node.input[2] if len(node.input) > 2 else ""
    if not bias:
        return Producer(node.name, ids, ())
    network.check_constant(bias)
    if node.op_type == "Gemm":
        return Producer(node.name, ids, ((2, constant_layout(bias, layout, network)),))
    return Producer(node.name, ids, ((2, Layout.along(0, 1, ids)),))


def _normalization(node: NodeProto, layout: Layout, network: Network) -> Producer:
    positions = [i for i in _NORMALIZATIONS[node.op_type][0] if i < len(node.input) and node.input[i]]
    axis = _axis(node)
    if any(node.output[1:]) or int(str(attribute(node, "axis", -1))) not in (-1, layout.rank - 1):
        raise NotScalable(f"{node.name!r} normalizes over several axes or has further results")
    for i in positions:
        network.check_constant(node.input[i])
        if len(network.index.initializers[node.input[i]].dims) != 1:
            raise NotScalable(f"the scale of {node.name!r} is no vector")
    ids = layout.vector(axis, int(network.index.initializers[node.input[1]].dims[0]))
    if ids is None:
        raise NotScalable(f"the channels are not those of {node.name!r}")
    return Producer(node.name, None, tuple((i, Layout.along(0, 1, ids)) for i in positions))


def _multiplication(node: NodeProto, layout: Layout, network: Network) -> Producer:
    position = next((i for i, name in enumerate(node.input) if _is_vector(name, network)), None)
    if position is None:
        raise NotScalable(f"{node.name!r} (Mul) computes it")
    network.check_constant(node.input[position])
    return Producer(node.name, None, ((position, constant_layout(node.input[position], layout, network)),))


def _axis(node: NodeProto) -> int:
    if node.op_type in _NORMALIZATIONS:
        return _NORMALIZATIONS[node.op_type][1]
    return -1 if node.op_type in ("Gemm", "MatMul") else 1


def _is_vector(name: str, network: Network) -> bool:
    """Whether a name is a constant with one number per channel."""
    weight = network.index.initializers.get(name)
    return weight is not None and max(weight.dims, default=1) > 1 and prod(weight.dims) == max(weight.dims)

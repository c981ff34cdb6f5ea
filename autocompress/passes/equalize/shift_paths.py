"""Finds where a constant per channel can be taken off a tensor and given back by the layers that read it.

    W f(x) + b = W (f(x) - c) + (b + W c)

The constant comes off the bias that is added before: f(x) - c = f(x - c) wherever x >= c >= 0, for Relu and its like,
or always, where f does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from autocompress.graph.index import attribute
from autocompress.graph.walk import is_standard
from autocompress.passes.equalize.elementwise import upper_bound
from autocompress.passes.equalize.layout import IdArray, Layout
from autocompress.passes.equalize.network import Network, NotScalable, input_channels
from autocompress.passes.equalize.producers import own_layout
from autocompress.passes.equalize.rules import RULES

ACTIVATIONS = frozenset({"Clip", "LeakyRelu", "PRelu", "Relu"})
_MOVING = frozenset(
    {
        "Expand", "Flatten", "Gather", "GlobalAveragePool", "GlobalMaxPool", "Identity", "MaxPool", "ReduceMax",
        "ReduceMean", "ReduceMin", "Reshape", "Resize", "Shape", "Size", "Slice", "Split", "Squeeze", "Transpose",
        "Unsqueeze",
    }
)  # fmt: skip
# Operator -> position of the vector it adds.
_BIAS = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "LayerNormalization": 2, "BatchNormalization": 2}


@dataclass(frozen=True)
class ShiftedReader:
    """A layer that gives the constant back.

    Attributes:
        node: its name.
        ids: channel of each of its input channels.
        bias_node: who adds its bias: itself, or the Add behind a MatMul.
        bias_position: operand position of the bias there; the operand may be missing.
    """

    node: str
    ids: IdArray
    bias_node: str
    bias_position: int


@dataclass(frozen=True)
class ShiftPath:
    """Channels that can be shifted.

    Attributes:
        anchor: the tensor from which the constant is taken, behind the activation.
        source: the same before the activation (the anchor itself where there is none).
        channels: how many.
        bias_node: node whose added vector it comes off.
        bias_position: operand position of that vector; the operand may be missing.
        activation: name of the activation between, or None.
        bound: upper bound of the activation.
        readers: the layers that give it back, in graph order.
        tensors: every tensor that is shifted -> its layout.
    """

    anchor: str
    source: str
    channels: int
    bias_node: str
    bias_position: int
    activation: str | None
    bound: float
    readers: tuple[ShiftedReader, ...]
    tensors: dict[str, Layout]


def find_shift_path(network: Network, anchor: str) -> ShiftPath:
    """How a tensor's channels can be shifted.

    Raises:
        NotScalable: with the reason why they cannot.
    """
    node = network.index.producers.get(anchor)
    activation, bound = None, float("inf")
    if node is not None and is_standard(node.domain) and node.op_type in ACTIVATIONS:
        activation = node
        bound = upper_bound(node, network) if node.op_type == "Clip" else bound
        node = _before(activation, network)
    if node is None:
        raise NotScalable(f"no layer computes {anchor!r}")
    position = _bias_position(node, network)
    layout = own_layout(node, network)
    if activation is not None:
        RULES[activation.op_type](activation, 0, layout, network)
        _check_slope(activation, network)
    tensors, readers = _follow(network, anchor, layout)
    order = network.position
    return ShiftPath(
        anchor=anchor,
        source=node.output[0],
        channels=int(layout.ids.size),
        bias_node=node.name,
        bias_position=position,
        activation=None if activation is None else activation.name,
        bound=bound,
        readers=tuple(sorted(readers, key=lambda reader: order[reader.node])),
        tensors={node.output[0]: layout, **tensors},
    )


def _before(activation: NodeProto, network: Network) -> NodeProto:
    """What computes the argument of an activation that nothing else reads."""
    given = activation.input[0]
    node = network.index.producers.get(given)
    if node is None or given in network.index.outputs or len(network.index.consumers[given]) > 1:
        raise NotScalable(f"{given!r} is read before {activation.name!r} as well")
    return node


def _check_slope(activation: NodeProto, network: Network) -> None:
    """Results above zero must come from arguments above zero."""
    if activation.op_type == "PRelu":
        slope = network.constant(activation.input[1])
        falls = slope is None or bool((slope.astype(np.float64) < 0.0).any())
    else:
        falls = float(str(attribute(activation, "alpha", 0.0))) < 0.0
    if falls:
        raise NotScalable(f"{activation.name!r} may have a negative slope")


def _bias_position(node: NodeProto, network: Network) -> int:
    if not is_standard(node.domain):
        raise NotScalable(f"{node.name!r} ({node.op_type}) computes it")
    if node.op_type in ("Add", "MatMul"):
        position = next((i for i, name in enumerate(node.input) if _is_constant(name, network)), None)
        if node.op_type == "MatMul" or position is None:
            raise NotScalable(f"{node.name!r} ({node.op_type}) adds no constant")
    elif node.op_type in _BIAS and (network.has_layer_weight(node) or node.op_type.endswith("Normalization")):
        position = _BIAS[node.op_type]
    else:
        raise NotScalable(f"{node.name!r} ({node.op_type}) adds no constant")
    _check_bias(node, position, network)
    return position


def _check_bias(node: NodeProto, position: int, network: Network) -> None:
    if node.op_type == "Gemm" and (attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)) != (1.0, 1.0):
        raise NotScalable(f"{node.name!r} multiplies its bias")
    if position < len(node.input) and node.input[position]:
        network.check_constant(node.input[position])


def _is_constant(name: str, network: Network) -> bool:
    return network.index.is_constant(name)


def _follow(network: Network, anchor: str, layout: Layout) -> tuple[dict[str, Layout], list[ShiftedReader]]:
    """Every tensor that shifts with the anchor, and the layers that give the constant back."""
    tensors, readers = {anchor: layout}, []
    pending = [anchor]
    while pending:
        name = pending.pop()
        if name in network.index.outputs:
            raise NotScalable(f"{name!r} is an output of the model")
        for node in network.index.consumers.get(name, []):
            if list(node.input).count(name) != 1 or node.input[0] != name or not is_standard(node.domain):
                raise NotScalable(f"{node.name!r} ({node.op_type}) reads it")
            if network.has_layer_weight(node):
                readers.append(_reader(node, tensors[name], network))
                continue
            if node.op_type not in _MOVING and not _averages_whole_windows(node):
                raise NotScalable(f"{node.name!r} ({node.op_type}) reads it")
            for result, own in RULES[node.op_type](node, 0, tensors[name], network).outputs:
                tensors[result] = own
                pending.append(result)
    if not readers:
        raise NotScalable("no layer reads it")
    return tensors, readers


def _averages_whole_windows(node: NodeProto) -> bool:
    pads, automatic = attribute(node, "pads", []), attribute(node, "auto_pad", b"NOTSET")
    assert isinstance(pads, list)
    whole = not any(pads) and automatic in (b"NOTSET", b"VALID") and not attribute(node, "ceil_mode", 0)
    return node.op_type == "AveragePool" and whole


def _reader(node: NodeProto, layout: Layout, network: Network) -> ShiftedReader:
    axis = layout.rank - 1 if node.op_type in ("Gemm", "MatMul") else 1
    ids = layout.vector(axis, input_channels(node, network.index.initializers[node.input[1]]))
    if ids is None:
        raise NotScalable(f"the channels are not the inputs of {node.name!r}")
    network.check_constant(node.input[1])
    if node.op_type == "ConvTranspose" or (node.op_type == "Conv" and not _is_unpadded(node)):
        raise NotScalable(f"{node.name!r} pads with zeros, which a shift would not reach")
    owner, position = node, 2
    if node.op_type == "MatMul":
        follower = network.index.sole_consumer(node.output[0])
        if follower is None or follower.op_type != "Add" or not is_standard(follower.domain):
            raise NotScalable(f"{node.name!r} has no bias")
        owner, position = follower, 1 - list(follower.input).index(node.output[0])
        _check_addend(follower.input[position], network)
    _check_bias(owner, position, network)
    return ShiftedReader(node.name, ids, owner.name, position)


def _check_addend(name: str, network: Network) -> None:
    network.check_constant(name)
    sizes = network.index.initializers[name].dims
    if len(sizes) > 0 and sizes[-1] == 1 and max(sizes) > 1:
        raise NotScalable(f"the constant {name!r} is added across channels")


def _is_unpadded(node: NodeProto) -> bool:
    pads = attribute(node, "pads", [])
    assert isinstance(pads, list)
    return not any(pads) and attribute(node, "auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")

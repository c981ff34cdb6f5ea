"""Finds the channels that can be scaled together: everything between layers that write them and layers that read them.

A group starts at the result of a producer and is closed under two demands: whatever reads a scaled tensor must pass
the factors on or undo them in its weight, and whatever a sum adds to a scaled tensor must be scaled too.  Then

    x -> x / s  in every tensor of the group,    W_read -> W_read * s,    W_written, b_written -> W, b / s

leaves the model's outputs as they are, for any positive s per channel.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import NodeProto

from autocompress.passes.equalize.channel_group import ChannelGroup
from autocompress.passes.equalize.equalized import Skipped
from autocompress.passes.equalize.exploration import Exploration
from autocompress.passes.equalize.network import Network, NotScalable
from autocompress.passes.equalize.producers import is_producer, own_layout


def find_group(network: Network, anchor: str) -> ChannelGroup:
    """The group of the channels of one tensor.

    Raises:
        NotScalable: with the reason why these channels cannot be scaled.
    """
    node = network.index.producers.get(anchor)
    if node is None or anchor != node.output[0]:
        raise NotScalable(f"no layer computes {anchor!r}")
    return Exploration(network, anchor, own_layout(node, network)).group()


def find_groups(
    network: Network, wanted: Callable[[NodeProto], bool]
) -> tuple[tuple[ChannelGroup, ...], tuple[Skipped, ...]]:
    """The groups that start at wanted producers, in graph order, and the producers that can have none.

    Args:
        network: the model.
        wanted: whether a producer's channels are to be scaled.
    """
    groups: list[ChannelGroup] = []
    skipped: list[Skipped] = []
    covered: set[str] = set()
    for node in network.index.graph.node:
        if node.name in covered or not is_producer(node, network) or not wanted(node):
            continue
        try:
            group = find_group(network, node.output[0])
        except NotScalable as reason:
            skipped.append(Skipped(node.name, str(reason)))
            continue
        if any(_overlap(group, other) for other in groups):
            skipped.append(Skipped(node.name, "its channels are scaled with those before it"))
            continue
        covered.update(found.node for found in group.producers)
        groups.append(group)
    return tuple(groups), tuple(entry for entry in skipped if entry.node not in covered)


def _overlap(group: ChannelGroup, other: ChannelGroup) -> bool:
    """Whether any element belongs to channels of both (operands of a Concat do not)."""
    for name in group.tensors.keys() & other.tensors.keys():
        first, second = group.tensors[name].ids >= 0, other.tensors[name].ids >= 0
        if (first & second).any():
            return True
    return False

"""How much of a model's arithmetic each group of channels takes part in."""

from __future__ import annotations

from collections import defaultdict

from autocompress.graph.channels.groups import ChannelAnalysis, ChannelGroup
from autocompress.graph.cost import ModelCost


def macs_shares(analysis: ChannelAnalysis, cost: ModelCost) -> dict[str, float]:
    """The part of the model's multiply-accumulates that would go with all units of a group, by the stored weights.

    Shares of groups that meet in a layer overlap, so they add up to more than 1.

    Args:
        analysis: of a model.
        cost: of the same model.

    Returns:
        Group name -> share in [0, 1].
    """
    total = max(cost.total.macs, 1)
    return {group.name: sum(_macs(group, cost).values()) / total for group in analysis.groups}


def _macs(group: ChannelGroup, cost: ModelCost) -> dict[str, float]:
    """Node -> multiply-accumulates that go with the group."""
    stays: dict[str, float] = defaultdict(lambda: 1.0)
    for member in group.members:
        if member.role in ("output", "input") and cost.nodes[member.node].macs:
            stays[member.node] *= float((member.units < 0).mean())
    return {node: cost.nodes[node].macs * (1.0 - part) for node, part in stays.items()}

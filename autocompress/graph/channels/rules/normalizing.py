"""Normalizations: what they average over has to stay, what they treat alone passes with its constants."""

from __future__ import annotations

from onnx import NodeProto

from autocompress.graph.channels.rules.layers import integer
from autocompress.graph.channels.scope import Opaque, Scope
from autocompress.graph.walk import node_label


def batch_normalization(node: NodeProto, scope: Scope) -> None:
    """BatchNormalization: one scale, shift, mean and variance per channel."""
    axes = scope.operand(node, 0)
    if any(node.output[1:]):
        raise Opaque(f"{node_label(node)} is in training mode")
    for position, role in enumerate(("scale", "bias", "other", "other"), start=1):
        scope.tie(axes[1], scope.operand(node, position, role)[0], f"{node_label(node)} has computed parameters")
    scope.axes[node.output[0]] = axes
    scope.zeros.add(node.output[0])


def instance_normalization(node: NodeProto, scope: Scope) -> None:
    """InstanceNormalization: over the positions of each channel."""
    axes = scope.operand(node, 0)
    for axis in axes[2:]:
        scope.fix(axis, f"{node_label(node)} normalizes across it")
    for position, role in enumerate(("scale", "bias"), start=1):
        scope.tie(axes[1], scope.operand(node, position, role)[0], f"{node_label(node)} has computed parameters")
    scope.axes[node.output[0]] = axes
    scope.zeros.add(node.output[0])


def group_normalization(node: NodeProto, scope: Scope) -> None:
    """GroupNormalization: whole groups of channels can go."""
    axes, label = scope.operand(node, 0), node_label(node)
    groups = integer(node, "num_groups", 1)
    if axes[1] is None:
        raise Opaque(f"{label} reads an unknown number of channels")
    each = axes[1].size // groups
    whole, place = scope.split(axes[1], [groups, each])
    scope.fix(place, f"{label} normalizes across it")
    for position, role in enumerate(("scale", "bias"), start=1):
        own = scope.operand(node, position, role)[0]
        per_channel = own is not None and own.size == axes[1].size
        scope.tie(axes[1] if per_channel else whole, own, f"{label} has computed parameters")
    for axis in axes[2:]:
        scope.fix(axis, f"{label} normalizes across it")
    scope.axes[node.output[0]] = axes
    scope.zeros.add(node.output[0])


def trailing_normalization(node: NodeProto, scope: Scope) -> None:
    """LayerNormalization and RMSNormalization: over the last axes."""
    axes = scope.operand(node, 0)
    start = integer(node, "axis", -1) % len(axes)
    for axis in axes[start:]:
        scope.fix(axis, f"{node_label(node)} ({node.op_type}) normalizes across all channels")
    scope.axes[node.output[0]] = axes
    for name in node.output[1:]:
        if name:
            scope.axes[name] = (*axes[:start], *scope.plain(name)[start:])


def moment_normalization(node: NodeProto, scope: Scope) -> None:
    """MeanVarianceNormalization: has no epsilon, so that a channel without weights would not be finite."""
    axes = scope.operand(node, 0)
    for axis in axes:
        scope.fix(axis, f"{node_label(node)} divides by the deviation of each channel")
    scope.axes[node.output[0]] = axes


def local_response(node: NodeProto, scope: Scope) -> None:
    """LRN: across neighbouring channels."""
    axes = scope.operand(node, 0)
    scope.fix(axes[1], f"{node_label(node)} normalizes across neighbouring channels")
    scope.axes[node.output[0]] = axes

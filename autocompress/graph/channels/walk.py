"""Follows channels through a whole graph, operator by operator, until the layout of every weight is settled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from autocompress.graph.channels.axis import NOTHING
from autocompress.graph.channels.entries import Entry, Literal, SizeOf, computed_entries
from autocompress.graph.channels.patterns import Patterns
from autocompress.graph.channels.rules import RULES
from autocompress.graph.channels.scope import Axes, Opaque, Scope, Stored
from autocompress.graph.channels.ties import Settled
from autocompress.graph.channels.told import read_sizes
from autocompress.graph.index import captured_names
from autocompress.graph.walk import is_standard, node_label, subgraphs

_MOST_WALKS = 30
# Operators that use the numbers of a shape operand as ``entries`` and ``check_sizes`` expect.
_SHAPE_READERS = frozenset(
    {"Cast", "Concat", "ConstantOfShape", "Expand", "Gather", "Identity", "Reshape", "Resize", "Shape", "Slice"}
    | {"Squeeze", "Unsqueeze"}
)


@dataclass(frozen=True)
class Followed:
    """Where the channels of a model go.

    Attributes:
        axes: tensor name -> its axes.
        stored: (node name, operand position) -> how that stored operand is cut.
        entries: tensor name -> origin of its numbers, for shape arithmetic.
        settled: units and reasons.
    """

    axes: Mapping[str, Axes]
    stored: Mapping[tuple[str, int], Stored]
    entries: Mapping[str, tuple[Entry, ...]]
    settled: Settled


def follow_channels(model: ModelProto) -> Followed:
    """Walks a model as often as weights have to be laid out anew.

    Args:
        model: normalized; folded constants make shapes known.
    """
    patterns = Patterns({})
    sizes = read_sizes(model)
    ranks = {name: len(own) for name, own in sizes.items()}
    for _ in range(_MOST_WALKS):
        patterns.changed = False
        scope = Scope(model, patterns, sizes)
        _walk(model, scope, ranks)
        if not patterns.changed:
            break
    return Followed(scope.axes, scope.stored, scope.entries, _keeping_every_tensor(scope))


def _keeping_every_tensor(scope: Scope) -> Settled:
    """Units and reasons; a unit that is all of some axis has to stay."""
    settled = scope.ties.settle()
    reasons = dict(settled.reason)
    for name, axes in scope.axes.items():
        for axis in axes:
            for column in () if axis is None or axis.size == 0 else axis.labels.T:
                units = np.unique(np.where(column < 0, NOTHING, settled.unit[column]))
                if len(units) == 1 and units[0] >= 0:
                    reasons.setdefault(int(units[0]), f"without it nothing would be left of {name!r}")
    return Settled(settled.unit, reasons)


def _walk(model: ModelProto, scope: Scope, ranks: Mapping[str, int]) -> None:
    for node in model.graph.node:
        _visit(node, scope)
        _follow_sizes(node, scope, ranks)
    for output in model.graph.output:
        for axis in scope.axes.get(output.name, ()):
            scope.fix(axis, f"it reaches the output {output.name!r} of the model")


def _visit(node: NodeProto, scope: Scope) -> None:
    try:
        rule = RULES.get(node.op_type)
        if not is_standard(node.domain):
            raise Opaque(f"{node_label(node)} ({node.domain}.{node.op_type}) is no operator of the ONNX standard")
        if next(subgraphs(node), None) is not None:
            raise Opaque(f"{node_label(node)} ({node.op_type}) is control flow")
        if rule is None:
            raise Opaque(f"{node_label(node)} ({node.op_type}) has no rule for channels")
        rule(node, scope)
        for name in node.output:
            if name and not _fits(name, scope):
                raise Opaque(f"the sizes behind {node_label(node)} ({node.op_type}) are not what they should be")
    except Opaque as reason:
        _block(node, scope, str(reason))


def _fits(name: str, scope: Scope) -> bool:
    """Whether a result's axes are as long as shape inference says; each completes the other."""
    if not scope.has_rank(name):
        scope.learn_sizes(name)
        return True
    if name not in scope.axes:
        scope.axes[name] = scope.plain(name)
    axes, sizes = scope.axes[name], scope.sizes(name)
    if len(axes) != len(sizes):
        return False
    scope.learn_sizes(name)
    pairs = zip(axes, sizes, strict=True)
    return all(axis is None or axis.is_plain or not isinstance(size, int) or axis.size == size for axis, size in pairs)


def _block(node: NodeProto, scope: Scope, reason: str) -> None:
    """Everything that a node touches stays as it is."""
    for name in (*node.input, *captured_names(node)):
        for axis in scope.axes.get(name, ()):
            scope.fix(axis, reason)
    for position in range(len(node.input)):
        if (node.name, position) in scope.stored:
            for axis in scope.stored[node.name, position].axes:
                scope.fix(axis, reason)
    for name in node.output:
        scope.axes.pop(name, None)
        scope.zeros.discard(name)
        if name and scope.has_rank(name):
            scope.axes[name] = scope.plain(name)


def _follow_sizes(node: NodeProto, scope: Scope, ranks: Mapping[str, int]) -> None:
    """Shape arithmetic that nothing adjusts keeps the sizes that it computes with."""
    if not is_standard(node.domain):
        return
    operands = [scope.numbers(node, i) for i in range(len(node.input))]
    entries = computed_entries(node, operands, ranks)
    if entries is not None:
        scope.entries[node.output[0]] = entries
    adjusted = node.op_type in ("ConstantOfShape", "Expand", "Reshape", "Resize")
    if adjusted or (entries is not None and node.op_type in _SHAPE_READERS):
        return
    for numbers in operands:
        for entry in numbers or ():
            reason = f"{node_label(node)} ({node.op_type}) computes with its size"
            if isinstance(entry, SizeOf):
                scope.fix(scope.size_axis(entry), reason)
            elif isinstance(entry, Literal) and entry.node != node.name:
                scope.use_number(entry, None, reason)

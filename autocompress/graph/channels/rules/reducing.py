"""Operators that combine numbers of several places: channels that they combine have to stay, the others pass."""

from __future__ import annotations

from onnx import NodeProto

from autocompress.graph.channels.axis import Axis
from autocompress.graph.channels.rules.layers import integer
from autocompress.graph.channels.rules.moving import axes_of
from autocompress.graph.channels.scope import Opaque, Scope
from autocompress.graph.index import attribute
from autocompress.graph.walk import node_label

POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool"})
REDUCTIONS = frozenset(
    {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"}
    | {"ReduceSum", "ReduceSumSquare"}
)
_KEEP_ZERO = REDUCTIONS - {"ReduceLogSum", "ReduceLogSumExp"}
ALONG_AN_AXIS = {"Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "LpNormalization": -1}
"""Operators that combine the numbers along one axis, and which one by default."""


def pooling(node: NodeProto, scope: Scope) -> None:
    """Pooling over the positions of each channel."""
    axes = scope.operand(node, 0)
    kernel = attribute(node, "kernel_shape")
    alone = [isinstance(kernel, list) and _touches_one(node, i) for i in range(len(axes) - 2)]
    for axis, passes in zip(axes[2:], alone, strict=True):
        if not passes:
            scope.fix(axis, f"{node_label(node)} pools along it")
    for name in node.output:
        if name:
            rest = zip(axes[2:], scope.positions(name, len(axes)), alone, strict=True)
            scope.axes[name] = (*axes[:2], *(old if passes else new for old, new, passes in rest))
    if node.input[0] in scope.zeros:
        scope.zeros.add(node.output[0])


def reduction(node: NodeProto, scope: Scope) -> None:
    """Sums, means and extremes."""
    axes = scope.operand(node, 0)
    reduced = axes_of(node, scope, len(axes))
    if reduced is None and integer(node, "noop_with_empty_axes", 0):
        raise Opaque(f"{node_label(node)} reduces along computed axes")
    _reduce(node, scope, list(range(len(axes))) if reduced is None else reduced)
    if node.input[0] in scope.zeros and node.op_type in _KEEP_ZERO:
        scope.zeros.add(node.output[0])


def place_of_extreme(node: NodeProto, scope: Scope) -> None:
    """ArgMax and ArgMin."""
    rank = len(scope.operand(node, 0))
    _reduce(node, scope, [integer(node, "axis", 0) % rank])


def along_an_axis(node: NodeProto, scope: Scope) -> None:
    """Softmax and its like."""
    axes = scope.operand(node, 0)
    along = integer(node, "axis", ALONG_AN_AXIS[node.op_type]) % len(axes)
    scope.fix(axes[along], f"{node_label(node)} ({node.op_type}) combines all channels")
    scope.axes[node.output[0]] = axes


def running_sum(node: NodeProto, scope: Scope) -> None:
    """CumSum along a stored axis."""
    axes = scope.operand(node, 0)
    along = scope.integers(node, 1)
    if along is None:
        raise Opaque(f"{node_label(node)} sums along a computed axis")
    scope.fix(axes[along[0]], f"{node_label(node)} sums along it")
    scope.axes[node.output[0]] = axes


def triangle(node: NodeProto, scope: Scope) -> None:
    """Trilu: the place in the matrix counts."""
    axes = scope.operand(node, 0)
    for axis in axes[-2:]:
        scope.fix(axis, f"{node_label(node)} cuts it by place")
    scope.axes[node.output[0]] = axes


def sampling(node: NodeProto, scope: Scope) -> None:
    """GridSample: pixels of each channel; the grid stays."""
    axes = scope.operand(node, 0)
    for axis in (*axes[2:], *scope.operand(node, 1)[1:]):
        scope.fix(axis, f"{node_label(node)} reads it as positions")
    scope.axes[node.output[0]] = (*axes[:2], *scope.plain(node.output[0])[2:])


def _touches_one(node: NodeProto, place: int) -> bool:
    """Whether the window of a pool holds one index along an axis, and moves by one."""
    window, steps = attribute(node, "kernel_shape"), attribute(node, "strides", [1] * (place + 1))
    pads = attribute(node, "pads", [])
    assert isinstance(window, list) and isinstance(steps, list) and isinstance(pads, list)
    return bool(window[place] == 1 and steps[place] == 1 and not any(pads))


def _reduce(node: NodeProto, scope: Scope, reduced: list[int]) -> None:
    axes = scope.operand(node, 0)
    for i in reduced:
        scope.fix(axes[i], f"{node_label(node)} ({node.op_type}) combines all channels")
    if attribute(node, "keepdims", 1):
        scope.axes[node.output[0]] = tuple(Axis.plain(1) if i in reduced else axis for i, axis in enumerate(axes))
    else:
        scope.axes[node.output[0]] = tuple(axis for i, axis in enumerate(axes) if i not in reduced)

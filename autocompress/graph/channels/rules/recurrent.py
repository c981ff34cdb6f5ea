"""LSTM, GRU and RNN: units of the hidden state go in every gate, direction and step at once."""

from __future__ import annotations

from onnx import NodeProto

from autocompress.graph.channels.axis import Axis
from autocompress.graph.channels.scope import Opaque, Scope
from autocompress.graph.index import attribute
from autocompress.graph.walk import node_label

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_GATE_FUNCTIONS = {"LSTM": 1, "GRU": 1, "RNN": 0}  # activations that come before those of the cell, per direction
_FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}


def recurrence(node: NodeProto, scope: Scope) -> None:
    """Sequence, W (D, gates H, I), R (D, gates H, H), B (D, 2 gates H), lengths, states, peepholes (D, 3 H)."""
    label, gates = node_label(node), GATES[node.op_type]
    if not scope.is_stored(node, 1) or not scope.is_stored(node, 2):
        raise Opaque(f"the weights of {label} are computed in the graph")
    sequence = scope.operand(node, 0)
    inputs = scope.operand(node, 1, ("other", "output", "input"))
    recurrent = scope.operand(node, 2, ("other", "output", "input"))
    state = recurrent[2]
    scope.tie(sequence[2], inputs[2], f"{label} reads it with channels that must stay")
    gated = [(inputs[1], gates), (recurrent[1], gates)]
    if scope.has(node, 3):
        gated.append((scope.operand(node, 3, "bias")[1], 2 * gates))
    if scope.has(node, 7):
        gated.append((scope.operand(node, 7)[1], 3))
    for axis, count in gated:
        _tie_gates(scope, axis, count, state, label)
    for position in (5, 6):
        if scope.has(node, position):
            scope.tie(state, scope.operand(node, position)[2], f"{label} starts from a state that must stay")
    for i, name in enumerate(node.output):
        if name:
            scope.axes[name] = (*scope.plain(name)[:-1], state)
            if i < 2 and not scope.has(node, 5) and not scope.has(node, 6) and _rests_at_zero(node):
                scope.zeros.add(name)


def _rests_at_zero(node: NodeProto) -> bool:
    """Whether a unit without weights stays at zero."""
    given = attribute(node, "activations")
    names = list(given) if isinstance(given, list) else []
    cell = names[_GATE_FUNCTIONS[node.op_type] :: _FUNCTIONS[node.op_type]]
    return all(name in (b"Tanh", b"Relu") for name in cell)


def _tie_gates(scope: Scope, axis: Axis | None, count: int, state: Axis | None, label: str) -> None:
    if axis is None or state is None:
        raise Opaque(f"{label} has computed weights")
    gate, unit = scope.split(axis, [count, state.size]) if count > 1 else (Axis.plain(1), axis)
    scope.fix(gate, f"{label} needs all its gates")
    scope.tie(unit, state, f"{label} reads it with channels that must stay")

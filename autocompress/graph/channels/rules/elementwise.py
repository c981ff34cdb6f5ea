"""Operators that compute each number from the numbers at the same place."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from autocompress.graph.channels.axis import Axis
from autocompress.graph.channels.scope import Axes, Scope
from autocompress.graph.index import attribute
from autocompress.graph.walk import node_label

ZERO_AT_ZERO = frozenset(
    {"Abs", "Asin", "Asinh", "Atan", "Atanh", "Cast", "CastLike", "Ceil", "Celu", "Dropout", "Elu", "Erf", "Floor"}
    | {"Gelu", "HardSwish", "Identity", "LeakyRelu", "Mish", "Neg", "PRelu", "Relu", "Round", "Selu", "Shrink"}
    | {"Sign", "Sin", "Sinh", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu"}
)
"""Operators of one argument that map 0 to 0."""

UNARY = ZERO_AT_ZERO | frozenset(
    {"Acos", "Acosh", "Cos", "Cosh", "Exp", "HardSigmoid", "IsInf", "IsNaN", "Log", "Not", "Reciprocal", "Sigmoid"}
    | {"Softplus", "BitwiseNot"}
)

SUMS = frozenset({"Add", "Sub", "Sum", "Mean"})
PRODUCTS = frozenset({"Mul"})
NARY = (
    SUMS
    | PRODUCTS
    | frozenset(
        {"Div", "Max", "Min", "Pow", "Mod", "Where", "Clip", "And", "Or", "Xor", "Equal", "Greater", "GreaterOrEqual"}
        | {"Less", "LessOrEqual", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"}
    )
)


_ENDLESS_AT_ZERO = frozenset({"Acosh", "Log", "Reciprocal"})


def unary(node: NodeProto, scope: Scope) -> None:
    """One argument; a slope per channel follows."""
    axes = scope.operand(node, 0)
    if node.op_type == "PRelu":
        axes = broadcast(scope, [axes, scope.operand(node, 1)], node_label(node))
    if node.op_type in _ENDLESS_AT_ZERO and node.input[0] in scope.zeros:
        _refuse_zero(node, scope, axes)
    for name in node.output:
        if name:
            scope.axes[name] = axes
    if node.input[0] in scope.zeros and node.op_type in ZERO_AT_ZERO:
        scope.zeros.update(node.output)


def nary(node: NodeProto, scope: Scope) -> None:
    """Several arguments, broadcast against each other."""
    role = "bias" if node.op_type in SUMS else "scale" if node.op_type in PRODUCTS else "other"
    given = [i for i, name in enumerate(node.input) if name]
    axes = broadcast(scope, [scope.operand(node, i, role) for i in given], node_label(node))
    scope.axes[node.output[0]] = axes
    if node.op_type == "Div" and _is_zero(node, scope, 1, axes) and not scope.is_stored(node, 1):
        _refuse_zero(node, scope, scope.operand(node, 1))
    quiet = [_is_zero(node, scope, i, axes) for i in given]
    if (node.op_type in SUMS and all(quiet)) or (node.op_type in PRODUCTS and any(quiet)):
        scope.zeros.add(node.output[0])


def quantization(node: NodeProto, scope: Scope) -> None:
    """QuantizeLinear and DequantizeLinear: scales per channel follow."""
    axes = list(scope.operand(node, 0))
    along = int(str(attribute(node, "axis", 1))) % max(len(axes), 1)
    for position in (1, 2):
        if scope.has(node, position):
            own = scope.operand(node, position)
            if len(own) > 1:
                for axis in axes:
                    scope.fix(axis, f"{node_label(node)} quantizes it in blocks")
            elif len(own) == 1 and own[0] is not None and own[0].size > 1:
                scope.tie(axes[along], own[0], f"{node_label(node)} has computed scales")
    scope.axes[node.output[0]] = tuple(axes)


def broadcast(scope: Scope, operands: Sequence[Axes], label: str) -> Axes:
    """The axes of a result whose operands broadcast; whatever meets goes together."""
    rank = max(len(axes) for axes in operands)
    result: list[Axis | None] = []
    for place in range(-rank, 0):
        met = [axes[place] for axes in operands if -place <= len(axes)]
        large = [axis for axis in met if axis is None or axis.size != 1]
        lead = max(large, key=_richness, default=met[0])
        for axis in large:
            if axis is not lead:
                scope.tie(lead, axis, f"{label} combines it with channels that must stay")
        must_stay = lead is not None and any(axis is None or axis.is_plain for axis in large)
        result.append(Axis.plain(lead.size) if lead is not None and must_stay else lead)
    return tuple(result)


def _refuse_zero(node: NodeProto, scope: Scope, axes: Axes) -> None:
    """A channel whose weights are zero would not be finite, so that zeroing could not stand for removing."""
    for axis in axes:
        scope.fix(axis, f"{node_label(node)} ({node.op_type}) is not finite where it is zero")


def _is_zero(node: NodeProto, scope: Scope, position: int, result: Axes) -> bool:
    """Whether an operand is zero wherever the result can lose something, once the weights behind it are."""
    if not scope.is_stored(node, position):
        return node.input[position] in scope.zeros
    own = scope.operand(node, position)
    padded = (*(None for _ in range(len(result) - len(own))), *own)
    pairs = zip(result, padded, strict=True)
    return all(axis is None or axis.is_plain or (mine is not None and not mine.is_plain) for axis, mine in pairs)


def _richness(axis: Axis | None) -> tuple[int, bool]:
    return (-1, False) if axis is None else (axis.compact().columns, bool((axis.origin >= 0).all()))

"""Operators with weights: which channels they read and write.

y = W x + b        x loses channels with the columns of W, y with its rows and with b
grouped            channel = (group, place): whole groups can go, or the same places of every group
lookup             y has the columns of the table
"""

from __future__ import annotations

from onnx import NodeProto

from autocompress.graph.channels.axis import Axis, product
from autocompress.graph.channels.rules.elementwise import broadcast
from autocompress.graph.channels.scope import Axes, Opaque, Scope
from autocompress.graph.index import attribute
from autocompress.graph.walk import node_label


def integer(node: NodeProto, name: str, default: int) -> int:
    """An integer attribute."""
    value = attribute(node, name, default)
    assert isinstance(value, int)
    return value


def convolution(node: NodeProto, scope: Scope) -> None:
    """Conv, weight (O, I / groups, *kernel)."""
    axes, label = _layer_input(node, scope)
    groups = integer(node, "group", 1)
    rank = len(axes)
    weight = scope.operand(node, 1, ("output", "input", *["other"] * (rank - 2)))
    outputs = _known(weight[0])
    if groups == 1:
        scope.tie(axes[1], weight[1], f"{label} reads it with channels that must stay")
    else:
        _tie_groups(scope, axes[1], outputs, _known(weight[1]), groups, label)
    _finish(node, scope, axes, outputs)


def transposed_convolution(node: NodeProto, scope: Scope) -> None:
    """ConvTranspose, weight (I, O / groups, *kernel)."""
    axes, label = _layer_input(node, scope)
    groups = integer(node, "group", 1)
    weight = scope.operand(node, 1, ("input", "output", *["other"] * (len(axes) - 2)))
    inputs, outputs = _known(weight[0]), _known(weight[1])
    scope.tie(axes[1], inputs, f"{label} reads it with channels that must stay")
    if groups > 1:
        outputs = product([_splittable(scope, inputs, groups)[0], outputs])
    _finish(node, scope, axes, outputs)


def gemm(node: NodeProto, scope: Scope) -> None:
    """Gemm: A' B' + C."""
    label = node_label(node)
    swapped = [bool(integer(node, name, 0)) for name in ("transA", "transB")]
    first = scope.operand(node, 0, ("input", "output") if swapped[0] else ("output", "input"))
    second = scope.operand(node, 1, ("output", "input") if swapped[1] else ("input", "output"))
    rows, summed = first[::-1] if swapped[0] else first
    other, columns = second[::-1] if swapped[1] else second
    if columns is None:
        raise Opaque(f"{label} multiplies by a matrix of unknown size")
    _contract(node, scope, summed, other, label)
    result: Axes = (rows, columns)
    if scope.has(node, 2):
        result = broadcast(scope, [result, scope.operand(node, 2, "bias")], label)
    _set_product(node, scope, result, ((rows,), (columns,)))
    if scope.has(node, 2) and not (scope.is_stored(node, 2) and scope.sizes(node.input[2])[-1:] == (columns.size,)):
        scope.zeros.discard(node.output[0])


def matrix_product(node: NodeProto, scope: Scope) -> None:
    """MatMul, of stored or computed matrices."""
    label = node_label(node)
    ranks = [len(scope.sizes(name)) for name in node.input]
    if min(ranks) < 2:
        raise Opaque(f"{label} multiplies a vector")
    batches = [["other"] * (rank - 2) for rank in ranks]
    first = scope.operand(node, 0, (*batches[0], "output", "input"))
    second = scope.operand(node, 1, (*batches[1], "input", "output"))
    _contract(node, scope, first[-1], second[-2], label)
    batch = broadcast(scope, [first[:-2], second[:-2]], label)
    _set_product(node, scope, (*batch, first[-2], second[-1]), (first[:-1], (*second[:-2], second[-1])))


def einsum(node: NodeProto, scope: Scope) -> None:
    """Einsum: axes of one letter go together; summed ones must be summed with something that is zero."""
    label = node_label(node)
    equation = str(attribute(node, "equation", b"").decode()).replace(" ", "")  # type: ignore[attr-defined]
    terms, _, result = equation.partition("->")
    if "." in equation or "->" not in equation:
        raise Opaque(f"{label} leaves its axes to convention")
    found: dict[str, list[tuple[Axis | None, int]]] = {}
    for position, term in enumerate(terms.split(",")):
        roles = ["output" if letter in result else "input" for letter in term]
        for letter, axis in zip(term, scope.operand(node, position, roles), strict=True):
            found.setdefault(letter, []).append((axis, position))
    for letter, axes in found.items():
        for axis, _ in axes[1:]:
            scope.tie(axes[0][0], axis, f"{label} reads it with channels that must stay")
        if letter not in result and not any(_is_zero(node, scope, position) for _, position in axes):
            scope.fix(axes[0][0], f"{label} sums over channels that need not be zero")
        if len(axes) == 1 and letter not in result:
            scope.fix(axes[0][0], f"{label} sums over it")
    scope.axes[node.output[0]] = tuple(found[letter][0][0] for letter in result)


def lookup(node: NodeProto, scope: Scope) -> None:
    """Gather from a stored table, as an embedding does."""
    rank = len(scope.sizes(node.input[0]))
    place = integer(node, "axis", 0) % rank
    roles = ["other" if axis == place else "output" for axis in range(rank)]
    table = scope.operand(node, 0, roles)
    scope.fix(table[place], f"{node_label(node)} looks up rows by computed numbers")
    scope.axes[node.output[0]] = (*table[:place], *scope.plain(node.input[1]), *table[place + 1 :])
    scope.zeros.add(node.output[0])


def _layer_input(node: NodeProto, scope: Scope) -> tuple[Axes, str]:
    label = node_label(node)
    if not scope.is_stored(node, 1):
        raise Opaque(f"the weight of {label} is computed in the graph")
    axes = scope.operand(node, 0)
    for axis in axes[2:]:
        scope.fix(axis, f"{label} convolves along it")
    return axes, label


def _finish(node: NodeProto, scope: Scope, axes: Axes, outputs: Axis) -> None:
    if scope.has(node, 2):
        scope.tie(outputs, scope.operand(node, 2, "bias")[0], f"the bias of {node_label(node)} is computed")
    scope.axes[node.output[0]] = (axes[0], outputs, *scope.positions(node.output[0], len(axes)))
    scope.zeros.add(node.output[0])


def _tie_groups(scope: Scope, inputs: Axis | None, outputs: Axis, places: Axis, groups: int, label: str) -> None:
    """Input channel (group, place), output channel (group, place of its own)."""
    reason = f"{label} reads it with channels that must stay"
    output_groups, _ = _splittable(scope, outputs, groups)
    if inputs is None:
        raise Opaque(f"{label} reads a tensor with an unknown number of channels")
    input_groups, input_places = _splittable(scope, inputs, groups)
    scope.tie(input_groups, output_groups, reason)
    scope.tie(input_places, places, reason)


def _splittable(scope: Scope, axis: Axis, groups: int) -> tuple[Axis, Axis]:
    each = axis.size // groups
    if each == 1:
        return axis, Axis.plain(1)
    whole, place = scope.split(axis, [groups, each])
    return whole, place


def _contract(node: NodeProto, scope: Scope, first: Axis | None, second: Axis | None, label: str) -> None:
    scope.tie(first, second, f"{label} reads it with channels that must stay")
    if not _is_zero(node, scope, 0) and not _is_zero(node, scope, 1):
        scope.fix(first, f"{label} sums over channels that need not be zero")


def _is_zero(node: NodeProto, scope: Scope, position: int) -> bool:
    """Whether what is removed from an operand is zero once the weights behind it are."""
    return scope.is_stored(node, position) or node.input[position] in scope.zeros


def _set_product(node: NodeProto, scope: Scope, result: Axes, passed: tuple[Axes, Axes]) -> None:
    """Sets the result; ``passed`` are the axes that it has from each operand."""
    scope.axes[node.output[0]] = result
    pairs = enumerate(passed)
    if all(_is_zero(node, scope, i) or all(axis is None or axis.is_plain for axis in part) for i, part in pairs):
        scope.zeros.add(node.output[0])


def _known(axis: Axis | None) -> Axis:
    assert axis is not None, "stored operands have known sizes"
    return axis

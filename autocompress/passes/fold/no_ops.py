"""Operators whose result equals their first input, one rule per operator.

x + 0, x - 0, x * 1, x / 1, x^1         no-ops where nothing is widened
Slice that takes all, Pad by nothing, Tile once, Expand or Reshape to the same sizes, Cast to the same type,
Transpose that keeps the order, pooling over one element, Clip without bounds, Relu of what is never negative
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.specs import Size
from autocompress.graph.walk import is_standard

_INVENTED_SYMBOL = "unk__"  # a size that inference knows nothing about
_NEVER_NEGATIVE = frozenset({"Relu", "Sigmoid", "Softmax"})


def is_no_op(
    model: ModelProto, sizes: Mapping[str, Sequence[Size]], types: Mapping[str, int]
) -> Callable[[NodeProto], bool]:
    """A predicate: the node's result equals its first input.

    Args:
        model: the graph that the nodes belong to.
        sizes: tensor name -> sizes, as far as known.
        types: tensor name -> ONNX element type, where known.
    """
    facts = _Facts(model, sizes, types)

    def no_op(node: NodeProto) -> bool:
        rule = _RULES.get(node.op_type)
        return bool(rule and is_standard(node.domain) and node.input and rule(node, facts))

    return no_op


def put_neutral_second(model: ModelProto) -> None:
    """Writes 0 + x as x + 0 and 1 * x as x * 1, in place, so that the result may equal the first input."""
    index = GraphIndex(model)
    facts = _Facts(model, {}, {})
    for node in model.graph.node:
        neutral = {"Add": 0, "Mul": 1}.get(node.op_type) if is_standard(node.domain) else None
        if neutral is None or index.is_constant(node.input[1]):
            continue
        if facts.all_equal(node.input[0], neutral):
            node.input[0], node.input[1] = node.input[1], node.input[0]


class _Facts:
    """What the rules ask about a graph."""

    def __init__(self, model: ModelProto, sizes: Mapping[str, Sequence[Size]], types: Mapping[str, int]) -> None:
        self.index = GraphIndex(model)
        self.types = types
        self._sizes = sizes

    def all_equal(self, name: str, number: float) -> bool:
        """Whether a tensor is constant and holds nothing but a number."""
        return self.index.is_constant(name) and bool(np.all(self.index.weight(name) == number))

    def same_sizes(self, node: NodeProto) -> bool:
        """Whether result and first input have equal sizes, for all sizes of the model's inputs."""
        given, result = self._sizes.get(node.input[0]), self._sizes.get(node.output[0])
        return given is not None and result is not None and tuple(given) == tuple(result) and all(map(_known, given))

    def same_but_one(self, node: NodeProto) -> bool:
        """Whether all sizes but one are equal numbers: with as many elements, so is the last."""
        given, result = self._sizes.get(node.input[0]), self._sizes.get(node.output[0])
        if given is None or result is None or len(given) != len(result):
            return False
        open_axes = [i for i, pair in enumerate(zip(given, result, strict=True)) if not _equal_numbers(*pair)]
        return len(open_axes) == 1 and all(not isinstance(sizes[open_axes[0]], int) for sizes in (given, result))


def _known(size: Size) -> bool:
    return isinstance(size, int) or (isinstance(size, str) and not size.startswith(_INVENTED_SYMBOL))


def _equal_numbers(given: Size, result: Size) -> bool:
    return isinstance(given, int) and given == result and given > 0


def _keeps_elements(node: NodeProto, facts: _Facts) -> bool:
    return facts.same_sizes(node) or facts.same_but_one(node)


def _keeps_order(node: NodeProto, _facts: _Facts) -> bool:
    perm = attribute(node, "perm")
    return isinstance(perm, list) and perm == sorted(perm)


def _same_type(node: NodeProto, facts: _Facts) -> bool:
    return node.input[0] in facts.types and facts.types[node.input[0]] == attribute(node, "to")


def _takes_all(node: NodeProto, facts: _Facts) -> bool:
    """Forward steps of one, and as many elements along every axis as before."""
    steps = node.input[4] if len(node.input) > 4 else ""
    return facts.same_sizes(node) and (not steps or facts.all_equal(steps, 1))


def _second_is(number: float) -> Callable[[NodeProto, _Facts], bool]:
    def rule(node: NodeProto, facts: _Facts) -> bool:
        return facts.all_equal(node.input[1], number) and facts.same_sizes(node)

    return rule


def _one_element(node: NodeProto, _facts: _Facts) -> bool:
    """Pooling with a window of one, at every position."""
    expected = {"kernel_shape": 1, "strides": 1, "pads": 0}
    found = {name: attribute(node, name) for name in expected}
    plain = attribute(node, "auto_pad", b"NOTSET") == b"NOTSET" and not any(node.output[1:])
    return (
        plain
        and isinstance(found["kernel_shape"], list)
        and all(set(value) <= {expected[name]} for name, value in found.items() if isinstance(value, list))
    )


def _never_negative(node: NodeProto, facts: _Facts) -> bool:
    before = facts.index.producers.get(node.input[0])
    return before is not None and before.op_type in _NEVER_NEGATIVE and is_standard(before.domain)


def _sole_operand(node: NodeProto, _facts: _Facts) -> bool:
    return len([name for name in node.input if name]) == 1


_RULES: dict[str, Callable[[NodeProto, _Facts], bool]] = {
    "Identity": lambda node, facts: True,
    "Transpose": _keeps_order,
    "Cast": _same_type,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _keeps_elements),
    "Expand": lambda node, facts: facts.same_sizes(node),
    "Slice": _takes_all,
    "Pad": lambda node, facts: len(node.input) > 1 and facts.all_equal(node.input[1], 0),
    "Tile": lambda node, facts: facts.all_equal(node.input[1], 1),
    **dict.fromkeys(("Concat", "Sum", "Max", "Min", "Mean", "Clip"), _sole_operand),
    "Add": _second_is(0),
    "Sub": _second_is(0),
    "Mul": _second_is(1),
    "Div": _second_is(1),
    "Pow": _second_is(1),
    "MaxPool": _one_element,
    "AveragePool": _one_element,
    "Relu": _never_negative,
}

"""Units behind a Concat that some runtimes cannot compute in every kind of integers.

A runtime that pulls the Quantize behind a Concat into its branches keeps a zero point for each position of the joined
axis, and a product can only take them along the axis that it sums over, which is the last.
Another gets signed integers wrong that it has joined (see ``QuantizationRules.unsigned_concat_ops``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx

from autocompress.graph.index import GraphIndex, attribute
from autocompress.passes.quantize.units import Unit
from autocompress.runtimes.protocol import QuantizationRules


def behind_concats(
    index: GraphIndex,
    units: Sequence[Unit],
    rules: QuantizationRules,
    shapes: Callable[[], Mapping[str, Sequence[Any]]],
) -> frozenset[str]:
    """Names of the units that read what a Concat joined along another axis than the last, directly or moved.

    Args:
        index: the graph.
        units: its units.
        rules: names the op types that cannot.
        shapes: gives the shapes of tensors, as far as known; asked only where there is a Concat to judge.
    """
    concerned = [unit for unit in units if unit.op_type in rules.uneven_concat_ops]
    return frozenset(
        unit.name for unit in concerned if any(_joined_unevenly(index, name, rules, shapes) for name in unit.inputs)
    )


def unsigned_behind_concats(index: GraphIndex, units: Sequence[Unit], rules: QuantizationRules) -> frozenset[str]:
    """Names of the units that compute wrongly from signed integers, because a Concat has joined what they read."""
    concerned = [unit for unit in units if unit.op_type in rules.unsigned_concat_ops]
    return frozenset(unit.name for unit in concerned if any(_concat(index, name, rules) for name in unit.inputs))


def _joined_unevenly(
    index: GraphIndex, tensor: str, rules: QuantizationRules, shapes: Callable[[], Mapping[str, Sequence[Any]]]
) -> bool:
    node = _concat(index, tensor, rules)
    if node is None:
        return False
    axis = int(str(attribute(node, "axis", 0)))
    # Where the number of dimensions is not known, no positive axis is known to be the last.
    return axis not in (-1, len(shapes().get(node.output[0], ())) - 1)


def _concat(index: GraphIndex, tensor: str, rules: QuantizationRules) -> onnx.NodeProto | None:
    """The Concat that a tensor comes from, whatever moved it since; one of a single tensor is none."""
    node = index.producers.get(tensor)
    while node is not None and node.op_type in rules.transparent_ops:
        node = index.producers.get(node.input[0])
    joins = node is not None and not node.domain and node.op_type == "Concat" and len(node.input) > 1
    return node if joins else None

"""Where int8 and float meet: the tensors at which a precision change costs a conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from autocompress.graph.index import GraphIndex
from autocompress.graph.walk import names_read
from autocompress.passes.quantize.plan import is_transparent
from autocompress.passes.quantize.units import Unit
from autocompress.runtimes.protocol import QuantizationRules


@dataclass(frozen=True)
class Boundary:
    """A tensor between units.

    Attributes:
        tensor: its name, as its producer writes it.
        producer: position of the unit that produces it, or -1 where a float node or a graph input does.
        consumers: positions of the units that read it, also through data movers.
        float_reader: whether a node outside every unit (or the graph's output) reads it.
        elements: number of elements.
    """

    tensor: str
    producer: int
    consumers: tuple[int, ...]
    float_reader: bool
    elements: int


def find_boundaries(
    model: onnx.ModelProto, units: Sequence[Unit], rules: QuantizationRules, elements: Mapping[str, int]
) -> tuple[Boundary, ...]:
    """All tensors that at least one unit reads or produces.

    Args:
        model: the prepared model.
        units: its units.
        rules: the runtime's placement rules.
        elements: tensor -> number of elements; a tensor that is missing counts as 0 elements.
    """
    index = GraphIndex(model)
    producer_of = {unit.output: i for i, unit in enumerate(units)}
    inside = {name for unit in units for name in unit.nodes}
    root = _roots(model, rules)
    consumers: dict[str, list[int]] = {}
    for i, unit in enumerate(units):
        for name in unit.inputs:
            consumers.setdefault(root.get(name, name), []).append(i)
    float_read = {
        root.get(name, name)
        for node in index.graph.node
        if node.name not in inside and not is_transparent(node, rules)
        for name in names_read(node)
    }
    float_read.update(root.get(name, name) for name in index.outputs)
    tensors = dict.fromkeys([*producer_of, *consumers])
    return tuple(
        Boundary(
            tensor=name,
            producer=producer_of.get(name, -1),
            consumers=tuple(dict.fromkeys(consumers.get(name, []))),
            float_reader=name in float_read,
            elements=elements.get(name, 0),
        )
        for name in tensors
    )


def _roots(model: onnx.ModelProto, rules: QuantizationRules) -> dict[str, str]:
    roots: dict[str, str] = {}
    for node in model.graph.node:
        if is_transparent(node, rules):
            for name in node.output:
                roots[name] = roots.get(node.input[0], node.input[0])
    return roots

"""Where int8 and float meet: the tensors at which a precision change costs a conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from autocompress.graph.index import GraphIndex
from autocompress.graph.walk import names_read
from autocompress.passes.quantize.plan import is_transparent
from autocompress.runtimes.protocol import QuantizationRules
from autocompress.search.regions import Region


@dataclass(frozen=True)
class Boundary:
    """A tensor between regions.

    Attributes:
        tensor: its name, as its producer writes it.
        producer: position of the region that produces it, or -1 where a float node or a graph input does.
        consumers: positions of the other regions that read it, also through data movers.
        float_reader: whether a node outside every region (or the graph's output) reads it.
        elements: number of elements.
        producer_op: type of the operator that produces it; "" outside every region.
    """

    tensor: str
    producer: int
    consumers: tuple[int, ...]
    float_reader: bool
    elements: int
    producer_op: str = ""


def find_boundaries(
    model: onnx.ModelProto, regions: Sequence[Region], rules: QuantizationRules, elements: Mapping[str, int]
) -> tuple[Boundary, ...]:
    """All tensors at which the precision may change.

    Args:
        model: the prepared model.
        regions: its regions.
        rules: the runtime's placement rules.
        elements: tensor -> number of elements; a tensor that is missing counts as 0 elements.
    """
    root = _roots(model, rules)
    producer = {unit.output: (i, unit.op_type) for i, region in enumerate(regions) for unit in region.units}
    consumers = _consumers(regions, root, producer)
    float_read = _float_read(GraphIndex(model), regions, rules, root)
    found = []
    for name in dict.fromkeys([*producer, *consumers]):
        position, op_type = producer.get(name, (-1, ""))
        readers = tuple(dict.fromkeys(consumers.get(name, [])))
        if readers or name in float_read:
            found.append(Boundary(name, position, readers, name in float_read, elements.get(name, 0), op_type))
    return tuple(found)


def _consumers(
    regions: Sequence[Region], root: Mapping[str, str], producer: Mapping[str, tuple[int, str]]
) -> dict[str, list[int]]:
    """Tensor -> regions that read it, without the one that produces it."""
    consumers: dict[str, list[int]] = {}
    for i, region in enumerate(regions):
        for unit in region.units:
            for name in unit.inputs:
                source = root.get(name, name)
                if producer.get(source, (-1, ""))[0] != i:
                    consumers.setdefault(source, []).append(i)
    return consumers


def _float_read(
    index: GraphIndex, regions: Sequence[Region], rules: QuantizationRules, root: Mapping[str, str]
) -> set[str]:
    """Tensors that a node outside every region, or the graph's output, reads."""
    inside = {name for region in regions for unit in region.units for name in unit.nodes}
    names = {
        root.get(name, name)
        for node in index.graph.node
        if node.name not in inside and not is_transparent(node, rules)
        for name in names_read(node)
    }
    return names | {root.get(name, name) for name in index.outputs}


def _roots(model: onnx.ModelProto, rules: QuantizationRules) -> dict[str, str]:
    roots: dict[str, str] = {}
    for node in model.graph.node:
        if is_transparent(node, rules):
            for name in node.output:
                roots[name] = roots.get(node.input[0], node.input[0])
    return roots

"""Where int8 and float meet: the tensors at which a precision change costs a conversion."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx

from autocompress.graph.index import GraphIndex
from autocompress.graph.walk import names_read
from autocompress.passes.quantize import FP32, INT8, QuantizeConfig, Quantizer
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
        written_float: whether its producer, in int8, writes it in float for nothing where nobody reads int8.
    """

    tensor: str
    producer: int
    consumers: tuple[int, ...]
    float_reader: bool
    elements: int
    written_float: bool = False


@dataclass(frozen=True)
class Int8Units:
    """What becomes of units under the choices of a scheme.

    Attributes:
        names: of the units that are int8 when their region is.
        float_results: tensors that they write in float where nobody reads int8.
    """

    names: frozenset[str]
    float_results: frozenset[str]


def int8_units(quantizer: Quantizer, regions: Sequence[Region], config: QuantizeConfig) -> Int8Units:
    """What the regions of a model are in int8, each alone.

    Args:
        quantizer: of the model.
        regions: its regions.
        config: the scheme; its precisions do not count.
    """
    names, float_results = set[str](), set[str]()
    nothing = {unit.name: FP32 for unit in quantizer.units}
    for region in regions:
        if INT8 not in region.options:
            continue
        plan = quantizer.plan(config.with_precisions({**nothing, **region.precisions(INT8)}))
        names |= {unit.name for unit in plan.int8_units}
        float_results |= region.outputs - plan.produced
    return Int8Units(frozenset(names), frozenset(float_results))


def find_boundaries(
    model: onnx.ModelProto,
    regions: Sequence[Region],
    rules: QuantizationRules,
    elements: Mapping[str, int],
    int8: Int8Units | None = None,
) -> tuple[Boundary, ...]:
    """All tensors at which the precision may change.

    Args:
        model: the prepared model.
        regions: its regions.
        rules: the runtime's placement rules.
        elements: tensor -> number of elements; a tensor that is missing counts as 0 elements.
        int8: which units become int8 with their region; all of them unless given.
    """
    if int8 is None:
        int8 = Int8Units(frozenset(unit.name for region in regions for unit in region.units), frozenset())
    root = _roots(model, rules)
    units = [(i, unit) for i, region in enumerate(regions) for unit in region.units if unit.name in int8.names]
    producer = {unit.output: i for i, unit in units}
    consumers: dict[str, list[int]] = {}
    for i, unit in units:
        for name in unit.inputs:
            source = root.get(name, name)
            if producer.get(source, -1) != i:
                consumers.setdefault(source, []).append(i)
    inside = {name for _, unit in units for name in unit.nodes}
    float_read = _float_read(GraphIndex(model), inside, rules, root)
    found = []
    for name in dict.fromkeys([*producer, *consumers]):
        readers = tuple(dict.fromkeys(consumers.get(name, [])))
        if readers or name in float_read:
            found.append(
                Boundary(
                    tensor=name,
                    producer=producer.get(name, -1),
                    consumers=readers,
                    float_reader=name in float_read,
                    elements=elements.get(name, 0),
                    written_float=name in int8.float_results,
                )
            )
    return tuple(found)


def _float_read(
    index: GraphIndex, inside: Collection[str], rules: QuantizationRules, root: Mapping[str, str]
) -> set[str]:
    """Tensors that a node that is never int8, or the graph's output, reads."""
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

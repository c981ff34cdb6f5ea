"""Decides, from the precision of each unit, which tensors exist in int8 and whose range they use.

* An int8 unit reads its inputs through Quantize/Dequantize.  A unit's output is quantized as well, because only then
  does the runtime fuse the unit into one integer kernel; those that can write float do so where no int8 unit reads
  them (but not through an activation that vanishes: a Relu that anything but a Quantize follows hides the product from
  fusion).
* A tensor that an int8 unit produces is read by everybody through its Dequantize; a tensor that a float node produces
  is read through Quantize/Dequantize by int8 units only, so float neighbours lose nothing.
* A product with a constant matrix followed by the Add of a constant writes int8 as well, unless the Add is part of the
  kernel: runtimes merge the pair into a float Gemm before they look at its precision.
* Where the runtime leaves such an Add alone if its constant has as many dimensions as the result, and the configuration
  wants it, the product writes float and the Add reads float.
* An operator that only moves data, between an int8 producer and an int8 reader, moves int8 and keeps the range of
  what it moves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import onnx

from autocompress.graph.index import GraphIndex, attribute
from autocompress.passes.quantize.precisions import FP32, INT8
from autocompress.passes.quantize.stay_float import guarded_layers
from autocompress.passes.quantize.units import Unit
from autocompress.runtimes.protocol import QuantizationRules


@dataclass(frozen=True)
class Plan:
    """Where Quantize/Dequantize pairs stand.

    Attributes:
        int8_units: units executed in int8 with static ranges.
        float_activation_units: units with integer or half-precision weights, whose activations have no static range;
            tables among them.
        precisions: of every unit that is not fp32.
        int8_nodes: names of all nodes that read their activations from int8 (of units, and data movers between them).
        produced: tensors that exist only in int8 (their producer is an int8 node).
        quantized: tensor -> tensor whose range it uses (itself, except behind data movers), in graph order.
        guarded: float layers that must read int8-produced tensors through a Dequantize per channel: node name -> axis
            and number of the channels.
        lifted: Add of a constant behind a product that writes float: node name -> dimensions that the constant gets.
    """

    int8_units: tuple[Unit, ...]
    float_activation_units: tuple[Unit, ...]
    precisions: dict[str, str]
    int8_nodes: frozenset[str]
    produced: frozenset[str]
    quantized: dict[str, str]
    guarded: dict[str, tuple[int, int]]
    lifted: dict[str, int]

    @property
    def range_tensors(self) -> tuple[str, ...]:
        """Tensors whose range must be known."""
        return tuple(dict.fromkeys(self.quantized.values()))


def make_plan(
    index: GraphIndex,
    units: Sequence[Unit],
    precisions: Mapping[str, str],
    rules: QuantizationRules,
    lifted: Mapping[str, int] = MappingProxyType({}),
) -> Plan:
    """Places the Quantize/Dequantize pairs for a precision per unit.

    Args:
        index: the graph.
        units: its units.
        precisions: unit name -> precision.
        rules: what the runtime fuses.
        lifted: Add nodes behind products that the runtime leaves alone -> dimensions of their constant then.
    """
    int8_units = tuple(u for u in units if precisions[u.name] == INT8 and not u.is_table)
    wanted = _with_moved({name for unit in int8_units for name in unit.inputs}, index, rules)
    produced = {
        u.output: u.output for u in int8_units if u.output in wanted or not _may_write_float(index, u, rules, lifted)
    }
    int8_nodes = {u.nodes[0] for u in int8_units}
    guarded = guarded_layers(index, int8_nodes, rules)
    # Movers before a guarded layer move int8, or the runtime would pull the Dequantize through them to the layer.
    moved = _with_moved(wanted | {index.nodes[name].input[0] for name in guarded}, index, rules)
    for node in index.graph.node:
        if is_transparent(node, rules) and node.input[0] in produced and any(o in moved for o in node.output):
            int8_nodes.add(node.name)
            for name in node.output:
                produced[name] = produced[node.input[0]]
    quantized = dict(produced)
    for unit in int8_units:
        for name in unit.inputs:
            quantized.setdefault(name, name)
    return Plan(
        int8_units=int8_units,
        float_activation_units=tuple(u for u in units if precisions[u.name] != FP32 and u not in int8_units),
        precisions={u.name: precisions[u.name] for u in units if precisions[u.name] != FP32},
        int8_nodes=frozenset(int8_nodes),
        produced=frozenset(produced),
        quantized=quantized,
        guarded=guarded,
        lifted={
            reader.name: lifted[reader.name]
            for unit in int8_units
            if unit.output not in produced
            for reader in index.consumers.get(unit.output, [])
            if reader.name in lifted
        },
    )


def is_transparent(node: onnx.NodeProto, rules: QuantizationRules) -> bool:
    """Whether a node only moves data, so that int8 passes through it unchanged."""
    if node.domain or node.op_type not in rules.transparent_ops or not node.input:
        return False
    if node.op_type in ("Resize", "Upsample"):
        mode = attribute(node, "mode", b"nearest")
        return mode in (b"nearest", "nearest")
    if node.op_type == "Pad":
        return attribute(node, "mode", b"constant") in (b"reflect", b"edge")
    return not (node.op_type == "MaxPool" and len(node.output) > 1)


def _may_write_float(index: GraphIndex, unit: Unit, rules: QuantizationRules, lifted: Collection[str]) -> bool:
    readers = index.consumers.get(unit.output, [])
    hidden = len(unit.nodes) > 1 and index.nodes[unit.nodes[-1]].op_type in rules.fused_activations and bool(readers)
    merging = [reader for reader in readers if reader.name not in lifted]
    return unit.op_type in rules.float_result_ops and not hidden and not _merges_with_add(index, unit, merging, rules)


def _merges_with_add(
    index: GraphIndex, unit: Unit, readers: Sequence[onnx.NodeProto], rules: QuantizationRules
) -> bool:
    return (
        unit.weight is not None
        and not rules.bias_adds
        and any(reader.op_type == "Add" and any(index.is_constant(name) for name in reader.input) for reader in readers)
    )


def _with_moved(tensors: set[str], index: GraphIndex, rules: QuantizationRules) -> set[str]:
    """The tensors, and those that become them by being moved."""
    found = set(tensors)
    for node in reversed(index.graph.node):
        if is_transparent(node, rules) and any(name in found for name in node.output):
            found.add(node.input[0])
    return found

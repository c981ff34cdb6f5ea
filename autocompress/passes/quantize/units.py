"""Finds the units of a graph: the pieces whose precision is chosen as a whole.

A unit is one operator that the runtime has an integer kernel for, together with the activation that vanishes into
its requantization.  Which operators those are is the runtime's word (``QuantizationRules``), never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from autocompress.graph.index import GraphIndex, attribute
from autocompress.passes.quantize.activations import bias_add, computed_activation
from autocompress.passes.quantize.infinite import possibly_infinite
from autocompress.passes.quantize.precisions import (
    FP16_WEIGHTS,
    FP32,
    INT8,
    INT8_DYNAMIC,
    INT8_WEIGHT_ONLY,
    WEIGHT_ONLY,
)
from autocompress.passes.quantize.tables import is_table_lookup
from autocompress.runtimes.protocol import QuantizationRules


@dataclass(frozen=True)
class Unit:
    """One piece of the graph with a precision of its own.

    Attributes:
        name: name of its main node.
        op_type: type of its main node.
        nodes: names of all its nodes, main node first.
        inputs: activation tensors it reads (no weights); none of a table of which rows are picked.
        output: tensor it produces, after the fused activation.
        weight: name of its constant weight, or None for an operator without weights.
        bias: name of its constant bias, or None.
        options: precisions it can have that the runtime computes in, FP32 first.
        storage_options: further precisions, whose weights are stored in fewer bits while its activations stay float.
    """

    name: str
    op_type: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str
    weight: str | None
    bias: str | None
    options: tuple[str, ...]
    storage_options: tuple[str, ...] = ()

    @property
    def all_options(self) -> tuple[str, ...]:
        """Every precision it can have."""
        return (*self.options, *self.storage_options)

    @property
    def is_table(self) -> bool:
        """Whether it picks rows of its weight, and computes with nothing."""
        return not self.inputs


def find_units(index: GraphIndex, rules: QuantizationRules, float_tensors: frozenset[str]) -> tuple[Unit, ...]:
    """All units of a graph, in graph order.

    Args:
        index: the normalized, folded graph.
        rules: what the runtime fuses.
        float_tensors: names of the tensors and weights known to be float32 (others, such as ids and masks, are never
            quantized).
    """
    usable = float_tensors - possibly_infinite(index, float_tensors)
    units: list[Unit] = []
    taken: set[str] = set()
    for node in index.graph.node:
        unit = None if node.name in taken else _unit(node, index, rules, usable)
        if unit is not None and (unit.op_type not in rules.following_ops or _follows(unit, units)):
            units.append(unit)
            taken.update(unit.nodes)
    return tuple(units)


def _follows(unit: Unit, before: Sequence[Unit]) -> bool:
    """Whether it has two inputs, and a weighted unit writes one of them."""
    return len(unit.inputs) == 2 and any(u.weight is not None and u.output in unit.inputs for u in before)


def _unit(node: onnx.NodeProto, index: GraphIndex, rules: QuantizationRules, usable: frozenset[str]) -> Unit | None:
    weighted = node.op_type in rules.weighted_ops and _has_constant_weight(node, index)
    if node.op_type in rules.table_ops and is_table_lookup(node, index):
        return _table(node) if {node.input[0], node.output[0]} <= usable else None
    if node.domain or not (weighted or node.op_type in rules.joint_ops):
        return None
    activations = tuple(dict.fromkeys(n for n in node.input if n and not index.is_constant(n)))
    constants = [n for n in node.input if n and index.is_constant(n)]
    if not weighted and constants and not _constants_allowed(node, constants, index):
        return None
    if not activations or not all(name in usable for name in (*activations, *constants, *node.output)):
        return None
    nodes, output = _with_absorbed(node, index, rules, weighted=weighted)
    options = [FP32, INT8]
    if weighted and node.op_type in rules.dynamic_ops and _dynamic_possible(node):
        options.append(INT8_DYNAMIC)
    return Unit(
        name=node.name,
        op_type=node.op_type,
        nodes=nodes,
        inputs=activations,
        output=output,
        weight=node.input[1] if weighted else None,
        bias=node.input[2] if weighted and len(node.input) > 2 and node.input[2] else None,
        options=tuple(options),
        storage_options=_storage_options(node, index, rules) if weighted else (),
    )


def _table(node: onnx.NodeProto) -> Unit:
    """Every precision with weights of 8 bits is the same to a table."""
    return Unit(
        name=node.name,
        op_type=node.op_type,
        nodes=(node.name,),
        inputs=(),
        output=node.output[0],
        weight=node.input[0],
        bias=None,
        options=(FP32, INT8, INT8_DYNAMIC),
        storage_options=(INT8_WEIGHT_ONLY, FP16_WEIGHTS),
    )


def _has_constant_weight(node: onnx.NodeProto, index: GraphIndex) -> bool:
    if len(node.input) < 2 or not index.is_constant(node.input[1]) or index.is_constant(node.input[0]):
        return False
    weight = index.initializers[node.input[1]]
    if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2 or 0 in weight.dims:
        return False
    if len(node.input) > 2 and node.input[2]:
        if not index.is_constant(node.input[2]) or len(index.initializers[node.input[2]].dims) != 1:
            return False
        channels = weight.dims[0 if node.op_type == "Conv" else 1]
        channels = _gemm_columns(node, weight) if node.op_type == "Gemm" else channels
        if index.initializers[node.input[2]].dims[0] != channels:
            return False
    if node.op_type == "ConvTranspose":
        return int(str(attribute(node, "group", 1))) == 1
    if node.op_type == "Gemm":
        plain = float(str(attribute(node, "alpha", 1.0))) == 1.0 and float(str(attribute(node, "beta", 1.0))) == 1.0
        return plain and not attribute(node, "transA", 0) and len(weight.dims) == 2
    return node.op_type != "MatMul" or len(weight.dims) == 2


def _gemm_columns(node: onnx.NodeProto, weight: onnx.TensorProto) -> int:
    return int(weight.dims[0] if attribute(node, "transB", 0) else weight.dims[-1])


def _constants_allowed(node: onnx.NodeProto, constants: list[str], index: GraphIndex) -> bool:
    # Add and Mul with one constant operand have integer kernels; elsewhere constants are parameters (axes, sizes)
    # that the integer forms do not take.
    return node.op_type in ("Add", "Mul") and len(constants) == 1 and 0 not in index.initializers[constants[0]].dims


def _storage_options(node: onnx.NodeProto, index: GraphIndex, rules: QuantizationRules) -> tuple[str, ...]:
    matrix = node.op_type in rules.weight_only_ops and len(index.initializers[node.input[1]].dims) == 2
    return (*WEIGHT_ONLY, FP16_WEIGHTS) if matrix else (FP16_WEIGHTS,)


def _dynamic_possible(node: onnx.NodeProto) -> bool:
    return node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transA", 0))


def _with_absorbed(
    node: onnx.NodeProto, index: GraphIndex, rules: QuantizationRules, *, weighted: bool
) -> tuple[tuple[str, ...], str]:
    """Names of the nodes that become one integer kernel, and what it writes."""
    nodes, output = [node], node.output[0]
    bias = bias_add(index, node) if rules.bias_adds and weighted and node.op_type == "MatMul" else None
    if bias is not None:
        nodes, output = [node, bias], bias.output[0]
    computed = (
        computed_activation(index, output, rules.computed_activations) if weighted or node.op_type == "Add" else None
    )
    if computed is not None:
        nodes, output = [*nodes, *computed[0]], computed[1]
    # An activation vanishes into a range that ends where it clips, which these kernels cannot have.
    elif all(node.op_type != op_type for op_type, _, _ in rules.least_results) and (
        follower := _vanishing_activation(output, index, rules)
    ):
        nodes, output = [*nodes, follower], follower.output[0]
    return tuple(n.name for n in nodes), output


def _vanishing_activation(output: str, index: GraphIndex, rules: QuantizationRules) -> onnx.NodeProto | None:
    follower = index.sole_consumer(output)
    if follower is None or follower.domain or follower.op_type not in rules.fused_activations:
        return None
    if follower.input[0] != output:
        return None
    clips = follower.op_type == "Relu" or (follower.op_type == "Clip" and _clips_at_zero(follower, index))
    return follower if clips else None


def _clips_at_zero(node: onnx.NodeProto, index: GraphIndex) -> bool:
    if len(node.input) < 2 or not index.is_constant(node.input[1]):
        return False
    upper_known = len(node.input) < 3 or not node.input[2] or index.is_constant(node.input[2])
    return upper_known and float(index.weight(node.input[1]).reshape(-1)[0]) == 0.0

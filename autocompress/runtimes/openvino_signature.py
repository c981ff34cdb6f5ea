"""Signatures of the nodes that OpenVINO executes.

The operator type is OpenVINO's kind of layer ("Convolution", "FullyConnected", "Subgraph"), except that one which only
converts between float and integers is a QuantizeLinear or DequantizeLinear.  Weights have their ONNX shapes.  Besides
the attributes of the given node there are:

| attribute | what it is |
| --- | --- |
| kernel | the implementation that OpenVINO chose |
| precision | what it computes in |
| layouts | order and blocking of the axes of each activation, then of each result |
| operator | type of the given node, where the layer's kind leaves it open |
| fused | types of the other given nodes that it stands for, in graph order |
| multiply_adds | of the matrix products within it, where it is another kind of layer |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from onnx import NodeProto, TensorProto

from autocompress.graph.signature import AttributeValue, OpSignature, TensorType
from autocompress.graph.walk import is_standard
from autocompress.runtimes.openvino_given import GivenModel
from autocompress.runtimes.openvino_graph import ExecutedNode
from autocompress.runtimes.operator_signature import attributes_of, folded, sparsity_of

DOMAIN = "openvino"
_CONVOLUTIONS = ("Convolution", "Deconvolution")
_PRODUCTS = ("FullyConnected", "MatMul")
# Layers that stand for any mixture of elementwise operators, or only convert; none of them leads.
_MIXTURES = frozenset({"Subgraph", "Eltwise", "FakeQuantize", "Reorder", "Convert"})
_WEIGHTED = frozenset(
    {
        "Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "Gemm", "MatMul", "MatMulInteger", "MatMulNBits",
        "QLinearMatMul", "LSTM", "GRU", "RNN",
    }
)  # fmt: skip
# Given by the shape of the weight, or gone once the weight has been reordered.
_REDUNDANT = {
    **dict.fromkeys(_CONVOLUTIONS, frozenset({"kernel_shape", "output_shape"})),
    "FullyConnected": frozenset({"transA", "transB", "K", "N", "bits", "block_size", "accuracy_level"}),
}
# Never computed within another operator; those that are gone were duplicates, or moved nothing.
_NO_WORK = frozenset(
    {
        "Identity", "Dropout", "Constant", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather",
        "Concat", "Split", "Expand",
    }
)  # fmt: skip
_MADE_UP = re.compile(r"([A-Z][A-Za-z]+)_\d+")
_MADE_UP_WITHOUT_WORK = frozenset({"Constant", "Convert", "Reshape", "Subtract"})
_INTEGERS = ("uint8", "int8")


def leader_of(node: ExecutedNode, given: GivenModel, owned: Sequence[int]) -> int | None:
    """Position of the given node that an executed node is first of all; None for a mixture, or one with no name.

    Args:
        node: the executed node.
        given: the given model.
        owned: positions of the given nodes that it stands for.
    """
    if node.layer in _MIXTURES:
        return None
    weighted = next((p for p in owned if given.nodes[p].op_type in _WEIGHTED), None)
    if weighted is not None and (node.layer in (*_CONVOLUTIONS, *_PRODUCTS) or len(owned) == 1):
        return weighted
    named = (given.named_in(name) for name in node.originals)
    return next((p for p in named if p is not None), None)


def signature_of_executed(
    node: ExecutedNode, given: GivenModel, owned: Sequence[int], products: Mapping[int, int]
) -> OpSignature:
    """The signature of one executed node.

    Args:
        node: the executed node.
        given: the given model.
        owned: positions of the given nodes that it stands for, in graph order.
        products: multiply-adds of the given matrix products, by position.
    """
    leader = leader_of(node, given, owned)
    operands, group = _operands(node)
    attributes = {} if leader is None else _given_attributes(given.nodes[leader], node.layer, given.constants)
    if group:
        attributes["group"] = group
    attributes |= {"kernel": node.kernel, "precision": node.precision, "layouts": _layouts(node)}
    if leader is not None and node.layer not in (*_CONVOLUTIONS, *_PRODUCTS):
        attributes["operator"] = given.nodes[leader].op_type
    op_type = _conversion(node, given, owned) or node.layer
    if op_type == node.layer and (fused := _fused(node, given, owned, leader)):
        attributes["fused"] = fused
    hidden = sum(products.get(p, 0) for p in owned)
    if hidden and node.layer not in (*_CONVOLUTIONS, *_PRODUCTS):
        attributes["multiply_adds"] = hidden
    return OpSignature(
        domain=DOMAIN,
        op_type=op_type,
        inputs=operands,
        outputs=tuple(result.type for result in node.results),
        attributes=tuple(sorted(attributes.items())),
        sparsity=_sparsity(given, owned),
    )


def _operands(node: ExecutedNode) -> tuple[tuple[TensorType | None, ...], int]:
    """Operand types, and the groups of a convolution where OpenVINO gives its kernel an axis of groups (else 0)."""
    operands = [None if operand is None else folded(operand.type) for operand in node.operands]
    while operands and operands[-1] is None:
        operands.pop()
    if node.layer not in _CONVOLUTIONS or len(operands) < 2 or operands[0] is None or operands[1] is None:
        return tuple(operands), 0
    kernel = operands[1]
    if len(kernel.shape) != len(operands[0].shape) + 1:
        return tuple(operands), 0
    groups, first, *rest = kernel.shape
    operands[1] = TensorType(kernel.dtype, (groups * first, *rest), kernel.constant)
    return tuple(operands), groups


def _given_attributes(node: NodeProto, layer: str, constants: Mapping[str, TensorProto]) -> dict[str, AttributeValue]:
    redundant = _REDUNDANT.get(layer, frozenset())
    return {name: value for name, value in attributes_of(node, constants).items() if name not in redundant}


def _layouts(node: ExecutedNode) -> tuple[str, ...]:
    activations = [o.layout for o in node.operands if o is not None and not o.type.constant]
    return (*activations, *(result.layout for result in node.results))


def _conversion(node: ExecutedNode, given: GivenModel, owned: Sequence[int]) -> str | None:
    """The ONNX operator that a mixture amounts to where all it does is to convert to or from integers."""
    if node.layer not in _MIXTURES or not owned:
        return None
    types = {given.nodes[p].op_type for p in owned}
    if types == {"QuantizeLinear"} and any(result.type.dtype in _INTEGERS for result in node.results):
        return "QuantizeLinear"
    integer = any(o is not None and not o.type.constant and o.type.dtype in _INTEGERS for o in node.operands)
    return "DequantizeLinear" if types == {"DequantizeLinear"} and integer else None


def _fused(node: ExecutedNode, given: GivenModel, owned: Sequence[int], leader: int | None) -> tuple[str, ...]:
    ignored = _NO_WORK if node.layer in _MIXTURES else _NO_WORK | {"DequantizeLinear"}
    types = [given.nodes[p].op_type for p in owned if p != leader]
    unnamed = [name for name in node.originals if given.named_in(name) is None]
    made_up = [found.group(1) for name in unnamed if (found := _MADE_UP.fullmatch(name))]
    # Every integer kernel multiplies by its scales.
    useless = _MADE_UP_WITHOUT_WORK | {node.layer} | ({"Multiply"} if "8" in node.kernel.rpartition("_")[2] else set())
    return (*(t for t in types if t not in ignored), *sorted(t for t in made_up if t not in useless))


def _sparsity(given: GivenModel, owned: Sequence[int]) -> float:
    """Of the weights that the owned nodes read, also through a DequantizeLinear."""
    makers = given.makers
    found = []
    for node in (given.nodes[p] for p in owned if given.nodes[p].op_type in _WEIGHTED):
        for name in node.input:
            maker = makers.get(name)
            if maker is not None and maker.op_type == "DequantizeLinear" and is_standard(maker.domain):
                name = maker.input[0]
            if name in given.constants:
                found.append(given.constants[name])
    return sparsity_of(found)

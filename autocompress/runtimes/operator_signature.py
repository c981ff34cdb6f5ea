"""Canonical signatures of the nodes of an ONNX Runtime graph.

Two nodes that do the same work must get one signature, so that one measurement serves both: names, defaults that are
spelled out, and numbers that kernels do not branch on (epsilon, alpha, clip bounds) are left out; a scale or zero
point only says whether it is per tensor or per channel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, numpy_helper

from autocompress.graph.signature import AttributeValue, OpSignature, TensorType
from autocompress.graph.tensors import dtype_name

_ALL_ONES = frozenset({"strides", "dilations"})
_ALL_ZEROS = frozenset({"pads", "output_padding"})
_ZERO_DEFAULTS = frozenset({"transA", "transB", "transBatchA", "transBatchB", "channels_last", "keep_aspect_ratio"})
# Constant operands whose values decide what is computed, not only its shape: reduced axes, sliced axes, exponents.
_TELLING_OPERANDS = {"Slice": (3, 4), "Pow": (1,)}
_ONLY_ABOUT_SHAPES = frozenset({"allowzero"})  # how a constant shape is read; the types say what it came to
_CHANNEL_STEP = 4
_SPARSE_FROM = 0.25  # below it, zeros are what rounding leaves in any quantized weight


def signature_of(
    node: NodeProto,
    inputs: Sequence[TensorType | None],
    outputs: Sequence[TensorType],
    constants: Mapping[str, TensorProto],
) -> OpSignature:
    """The signature of one node.

    Args:
        node: the node as executed.
        inputs: type of each operand, None where omitted.
        outputs: type of each result.
        constants: initializers by name.
    """
    operands = [folded(t) for t in inputs]
    while operands and operands[-1] is None:
        operands.pop()
    return OpSignature(
        domain="" if node.domain == "ai.onnx" else node.domain,
        op_type=node.op_type,
        inputs=tuple(operands),
        outputs=tuple(outputs),
        attributes=tuple(sorted(attributes_of(node, constants).items())),
        sparsity=sparsity_of([constants[name] for name in node.input if name in constants]),
    )


def folded(tensor: TensorType | None) -> TensorType | None:
    """Constants of one element become scalars, whichever way they were stored."""
    if tensor is None or not tensor.constant or tensor.elements != 1 or len(tensor.shape) > 1:
        return tensor
    return TensorType(tensor.dtype, (), True)


def attributes_of(node: NodeProto, constants: Mapping[str, TensorProto]) -> dict[str, AttributeValue]:
    """What a node says about its work besides types, in canonical form.

    Args:
        node: the node.
        constants: initializers by name; the values of some operands count too.
    """
    return {**_attributes(node), **_telling_values(node, constants)}


def _attributes(node: NodeProto) -> dict[str, AttributeValue]:
    defaults = _schema_defaults(node)
    found: dict[str, AttributeValue] = {}
    for attribute in node.attribute:
        value = None if attribute.name in _ONLY_ABOUT_SHAPES else _canonical(attribute)
        if value is None or value == defaults.get(attribute.name) or _is_usual(attribute.name, value):
            continue
        found[attribute.name] = value
    return found


def _canonical(attribute: AttributeProto) -> AttributeValue | None:
    """The attribute as signature value; None where it does not change the work."""
    kind = attribute.type
    if kind == AttributeProto.INT:
        return int(attribute.i)
    if kind == AttributeProto.STRING:
        return str(attribute.s.decode("utf-8", "replace"))
    if kind == AttributeProto.INTS:
        return tuple(int(i) for i in attribute.ints)
    if kind == AttributeProto.STRINGS:
        return tuple(s.decode("utf-8", "replace") for s in attribute.strings)
    if kind == AttributeProto.GRAPH:
        return str(hashlib.sha256(attribute.g.SerializeToString(deterministic=True)).hexdigest()[:16])
    return None


def _is_usual(name: str, value: AttributeValue) -> bool:
    if isinstance(value, tuple):
        return (name in _ALL_ONES and set(value) <= {1}) or (name in _ALL_ZEROS and set(value) <= {0})
    if name == "group":
        return value == 1
    return (name in _ZERO_DEFAULTS and value == 0) or (name == "auto_pad" and value == "NOTSET")


def _schema_defaults(node: NodeProto) -> dict[str, AttributeValue | None]:
    if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type):
        return {}
    schema = onnx.defs.get_schema(node.op_type)
    return {name: _canonical(a.default_value) for name, a in schema.attributes.items() if a.default_value.name}


def _telling_values(node: NodeProto, constants: Mapping[str, TensorProto]) -> dict[str, AttributeValue]:
    positions: tuple[int, ...] = _TELLING_OPERANDS.get(node.op_type, ())
    if node.op_type.startswith("Reduce"):
        positions = (1,)
    found: dict[str, AttributeValue] = {}
    for position in positions:
        if position < len(node.input) and node.input[position] in constants:
            values = numpy_helper.to_array(constants[node.input[position]]).ravel()
            if values.size <= 8:
                found[f"operand{position}"] = tuple(values.tolist())
    return found


def sparsity_of(constants: Sequence[TensorProto]) -> float:
    """Share of zeros in the largest of an operator's constants, rounded to 1/16; 0.0 where it counts as dense."""
    weights = [constant for constant in constants if len(constant.dims) >= 2]
    if not weights:
        return 0.0
    weight = max(weights, key=lambda w: int(np.prod(w.dims, dtype=np.int64)))
    if weight.data_type in (TensorProto.STRING, TensorProto.UINT4, TensorProto.INT4):
        return 0.0
    values = _without_padding(numpy_helper.to_array(weight))
    if values.size == 0:
        return 0.0
    share = 1.0 - float(np.count_nonzero(values)) / values.size
    return round(share * 16) / 16 if share >= _SPARSE_FROM else 0.0


def _without_padding(weight: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A convolution's weight without the zero input channels at its end that fill a kernel's step of four."""
    if weight.ndim < 3 or weight.shape[1] % _CHANNEL_STEP:
        return weight
    kept = weight.shape[1]
    while kept > weight.shape[1] - _CHANNEL_STEP + 1 and not np.count_nonzero(weight[:, kept - 1]):
        kept -= 1
    return weight[:, :kept]


def constant_type(tensor: TensorProto) -> TensorType:
    """Type of an initializer."""
    return TensorType(dtype_name(tensor.data_type), tuple(int(d) for d in tensor.dims), True)

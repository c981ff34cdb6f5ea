"""One-operator models, cut out of an optimized graph, and models that repeat one.

Activations become graph inputs with concrete shapes.  Integer and boolean activations carry the values they had, as
default values of the graph inputs: such an input stays an activation for the runtime, and needs not be fed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from autocompress.graph.index import captured_names
from autocompress.graph.signature import TensorType
from autocompress.runtimes.protocol import Array

_OPERATOR = "operator"
_COPIED_BYTES = 64  # weights from this size on are distinct in each copy


def cut_operator(
    node: NodeProto,
    model: ModelProto,
    types: Mapping[str, TensorType],
    constants: Mapping[str, TensorProto],
    integers: Mapping[str, Array],
) -> bytes | None:
    """A serialized model with only ``node``; None where an operand is no tensor.

    Args:
        node: a node of ``model``.
        model: the optimized model; gives the opsets.
        types: tensor name -> type.
        constants: initializers by name.
        integers: values of integer activations by name.
    """
    names = [n for n in dict.fromkeys([*node.input, *captured_names(node)]) if n in types]
    written = [n for n in node.output if n]
    if any(types[n].dtype == "opaque" for n in (*names, *written)):
        return None
    alone = NodeProto()
    alone.CopyFrom(node)
    alone.name = _OPERATOR
    graph = GraphProto(name=_OPERATOR)
    graph.node.append(alone)
    for name in names:
        if name in constants:
            graph.initializer.append(constants[name])
            continue
        graph.input.append(_value(name, types[name]))
        if name in integers:
            graph.initializer.append(numpy_helper.from_array(np.asarray(integers[name]), name))
    graph.output.extend(_value(name, types[name]) for name in written)
    return bytes(_wrapped(graph, model).SerializeToString(deterministic=True))


def repeat_operator(standalone: bytes, copies: int) -> bytes:
    """The operator of a one-operator model ``copies`` times side by side, on shared activations, own weights.

    Only the last copy's results leave the model, so that the runtime reuses one buffer for the others, as it does
    within a network.
    """
    model = ModelProto.FromString(standalone)
    graph, first = GraphProto(name=_OPERATOR), model.graph.node[0]
    graph.input.extend(model.graph.input)
    activations = {i.name for i in model.graph.input}
    graph.initializer.extend(w for w in model.graph.initializer if w.name in activations)
    weights = [w for w in model.graph.initializer if w.name not in activations]
    for copy in range(copies):
        names = {w.name: _copy_name(w, copy) for w in weights}
        graph.initializer.extend(_renamed(w, names[w.name]) for w in weights if copy == 0 or names[w.name] != w.name)
        graph.node.append(_copied_node(first, names, copy, last=copy == copies - 1))
    graph.output.extend(model.graph.output)
    return bytes(_wrapped(graph, model).SerializeToString(deterministic=True))


def _copied_node(node: NodeProto, names: Mapping[str, str], copy: int, *, last: bool) -> NodeProto:
    copied = NodeProto()
    copied.CopyFrom(node)
    copied.name = f"{_OPERATOR}_{copy}"
    captured = set(captured_names(node))
    # Names read inside a body cannot be renamed here; bodies share their weights among the copies.
    copied.input[:] = [name if name in captured else names.get(name, name) for name in node.input]
    if not last:
        copied.output[:] = [f"{name}_{copy}" if name else "" for name in node.output]
    return copied


def _copy_name(weight: TensorProto, copy: int) -> str:
    size = len(weight.raw_data) or sum(len(field) for _, field in _payload(weight))
    return weight.name if copy == 0 or size < _COPIED_BYTES else f"{weight.name}_{copy}"


def _payload(weight: TensorProto) -> list[tuple[str, list[float]]]:
    return [
        (descriptor.name, list(value))
        for descriptor, value in weight.ListFields()
        if descriptor.name.endswith("_data") and descriptor.name != "raw_data"
    ]


def _renamed(weight: TensorProto, name: str) -> TensorProto:
    if weight.name == name:
        return weight
    copied = TensorProto()
    copied.CopyFrom(weight)
    copied.name = name
    return copied


def _value(name: str, tensor: TensorType) -> ValueInfoProto:
    dtype = TensorProto.DataType.Value(_ELEMENT_TYPES.get(tensor.dtype, tensor.dtype.upper()))
    return helper.make_tensor_value_info(name, dtype, tensor.shape)


_ELEMENT_TYPES = {"float32": "FLOAT", "float64": "DOUBLE"}


def _wrapped(graph: GraphProto, model: ModelProto) -> ModelProto:
    wrapped = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    wrapped.functions.extend(model.functions)
    return onnx.ModelProto.FromString(wrapped.SerializeToString())

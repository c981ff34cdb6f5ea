"""Writes factors into a model.

The last part keeps the layer's node name, bias and result, so that whatever follows (an activation, a residual add) is
untouched; the parts before it have no bias, so zero padding and strides stay exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from autocompress.errors import RecipeError
from autocompress.graph.index import GraphIndex
from autocompress.graph.inference import drop_annotations
from autocompress.graph.model import copy_model
from autocompress.graph.rewrite import drop_dead, free_name, replace_nodes, tensor_names
from autocompress.passes.decompose.config import DecomposeConfig
from autocompress.passes.decompose.layers import Layer, decomposable_layers
from autocompress.passes.decompose.methods import METHODS
from autocompress.passes.decompose.payload import DecomposePayload, FloatArray

_ROLES = {2: ("first", "last"), 3: ("first", "core", "last")}


def decompose(model: ModelProto, config: DecomposeConfig, payload: DecomposePayload) -> ModelProto:
    """A copy whose decomposed layers are chains of their parts; the same input gives the same bytes.

    Args:
        model: the one that ``resolve`` got; not changed.
        config: that ``resolve`` got.
        payload: that ``resolve`` gave.

    Raises:
        RecipeError: the payload does not fit the model or the configuration.
    """
    layers, _ = decomposable_layers(model)
    methods = {name: method for name, method, _ in config.layers}
    for name, parts in payload.factors.items():
        if name not in layers or name not in methods:
            raise RecipeError(f"decompose step: the factors of {name!r} fit no layer of the model; resolve them again")
        _check_chain(layers[name], parts)
    result = copy_model(model)
    writer = _Writer(result)
    nodes: list[NodeProto] = []
    for node in result.graph.node:
        if node.name in payload.factors:
            nodes.extend(writer.chain(node, layers[node.name], methods[node.name], payload.factors[node.name]))
        else:
            nodes.append(node)
    replace_nodes(result, nodes)
    drop_annotations(result)
    drop_dead(result)
    return result


def _check_chain(layer: Layer, parts: Sequence[FloatArray]) -> None:
    channels = [layer.inputs, *(part.shape[0] for part in parts)]
    linked = len(parts) in _ROLES and all(
        part.ndim == 2 + len(layer.kernel) and part.shape[1] == before
        for part, before in zip(parts, channels, strict=False)
    )
    if not linked or channels[-1] != layer.outputs:
        raise RecipeError(f"decompose step: the factors of {layer.name!r} have other shapes than the layer needs")


class _Writer:
    """Adds the weights of parts to a model and makes their nodes."""

    def __init__(self, model: ModelProto) -> None:
        self._graph = model.graph
        self._index = GraphIndex(model)
        self._taken = tensor_names(model)
        self._node_names = {node.name for node in model.graph.node}

    def chain(self, node: NodeProto, layer: Layer, method: str, parts: Sequence[FloatArray]) -> list[NodeProto]:
        """The nodes that take a layer's place."""
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        roles = _ROLES[len(parts)]
        if layer.op_type == "Conv":
            attributes = METHODS[method].attributes(given, len(layer.kernel))
        else:
            plain = {"transB": 1} if layer.transposed else {}
            attributes = (*[plain] * (len(parts) - 1), given)
        nodes: list[NodeProto] = []
        current = node.input[0]
        for position, (part, role, chosen) in enumerate(zip(parts, roles, attributes, strict=True)):
            is_last = position == len(parts) - 1
            weight = self._store(part, layer, role)
            result = node.output[0] if is_last else self._name(f"{node.output[0]}_decompose_{role}")
            name = node.name if is_last else self._node_name(f"{node.name}_decompose_{role}")
            operands = [current, weight, *(node.input[2:] if is_last else [])]
            if "kernel_shape" in chosen and layer.kernel:
                chosen = {**chosen, "kernel_shape": list(part.shape[2:])}
            nodes.append(helper.make_node(layer.op_type, operands, [result], name=name, **chosen))
            current = result
        return nodes

    def _store(self, part: FloatArray, layer: Layer, role: str) -> str:
        name = self._name(f"{layer.weight}_decompose_{role}")
        stored = part if layer.kernel or layer.transposed else part.T
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(stored), name))
        return name

    def _name(self, wanted: str) -> str:
        name = free_name(wanted, self._taken)
        self._taken.add(name)
        return name

    def _node_name(self, wanted: str) -> str:
        name = free_name(wanted, self._node_names)
        self._node_names.add(name)
        return name

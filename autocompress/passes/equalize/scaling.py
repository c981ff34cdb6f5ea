"""Applies factors per channel to a model: the one place where weights change.

Everything is multiplied in float64 and rounded once to the weight's own type.  A vector that other nodes read too is
copied under a new name; every other weight keeps its name.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from autocompress.errors import RecipeError
from autocompress.graph.index import GraphIndex
from autocompress.graph.model import copy_model
from autocompress.graph.rewrite import drop_dead, free_name, tensor_names
from autocompress.passes.equalize.channel_group import ChannelGroup
from autocompress.passes.equalize.groups import find_group
from autocompress.passes.equalize.layers import scale_inputs, scale_outputs
from autocompress.passes.equalize.layout import IdArray
from autocompress.passes.equalize.network import DoubleArray, Network, NotScalable


def scaled(model: ModelProto, scales: Mapping[str, npt.NDArray[np.float64]]) -> ModelProto:
    """A copy in which the named tensors are divided by ``scales`` and their readers undo it.

    Args:
        model: normalized.
        scales: anchor of a group -> factors s, positive, of shape (channels,).

    Raises:
        RecipeError: the model has no such group, or the factors do not fit it.
    """
    network = Network(model)
    editor = WeightEditor(model)
    for anchor, factors in scales.items():
        group = group_of(network, anchor)
        editor.divide(group, checked_factors(anchor, factors, group.channels))
    return editor.model()


def group_of(network: Network, anchor: str) -> ChannelGroup:
    """The group that a payload names.

    Raises:
        RecipeError: the model has no such group.
    """
    try:
        return find_group(network, anchor)
    except NotScalable as reason:
        raise RecipeError(f"the recipe scales {anchor!r}, which this model does not allow: {reason}") from reason


class WeightEditor:
    """Collects factors and writes the weights that follow into a copy of a model, one after the other.

    Args:
        model: not changed.
    """

    def __init__(self, model: ModelProto) -> None:
        self._model = copy_model(model)
        self._index = GraphIndex(self._model)
        self._names = tensor_names(self._model)
        self._outputs: dict[str, DoubleArray] = {}
        self._inputs: dict[str, DoubleArray] = {}
        self._vectors: dict[tuple[str, int], DoubleArray] = {}

    def divide(self, group: ChannelGroup, factors: DoubleArray) -> None:
        """Divides a group's channels by ``factors``."""
        for producer in group.producers:
            if producer.ids is not None:
                own = spread(factors, producer.ids)
                self._outputs[producer.node] = self._outputs.get(producer.node, 1.0) / own
        for (name, position), layout in group.constants.items():
            self._vectors[name, position] = self._vector(name, position) / spread(factors, layout.ids)
        for reader in group.readers:
            self._inputs[reader.node] = self._inputs.get(reader.node, 1.0) * spread(factors, reader.ids)

    def add(self, node: str, position: int, amounts: DoubleArray) -> None:
        """Adds to the vector that a node reads at a position, which may be one past its last operand."""
        operands = self._index.nodes[node].input
        exists = (node, position) in self._vectors or (position < len(operands) and operands[position])
        self._vectors[node, position] = (self._vector(node, position) if exists else 0.0) + amounts

    def weight(self, node: str) -> DoubleArray:
        """A layer's weight as scaled so far, float64, a fresh array."""
        layer = self._index.nodes[node]
        values = np.array(self._index.weight(layer.input[1]), np.float64, order="C")
        if node in self._outputs:
            scale_outputs(layer, values, self._outputs[node])
        if node in self._inputs:
            scale_inputs(layer, values, self._inputs[node])
        return values

    def model(self) -> ModelProto:
        """The changed copy; the editor must not be used afterwards.

        Raises:
            RecipeError: a weight would become infinite.
        """
        for node in self._model.graph.node:
            if node.name in self._outputs or node.name in self._inputs:
                self._store(node, 1, self.weight(node.name))
            for position in range(len(node.input) + 1):
                if (node.name, position) in self._vectors:
                    self._store(node, position, self._vectors[node.name, position])
        drop_dead(self._model)
        return self._model

    def _vector(self, node: str, position: int) -> DoubleArray:
        if (node, position) in self._vectors:
            return self._vectors[node, position]
        return self._index.weight(self._index.nodes[node].input[position]).astype(np.float64)

    def _store(self, node: NodeProto, position: int, values: DoubleArray) -> None:
        old = node.input[position] if position < len(node.input) else ""
        kind = self._index.initializers[old or node.input[1]]
        dtype = numpy_helper.to_array(TensorProto(data_type=kind.data_type, dims=[0])).dtype
        with np.errstate(over="ignore"):
            stored = values.astype(dtype)
        if not np.isfinite(stored).all():
            raise RecipeError(f"scaling makes the constant {old!r} of {node.name!r} infinite; choose smaller factors")
        name = self._name(node, position, old)
        tensor = numpy_helper.from_array(stored, name)
        if name == old:
            self._index.initializers[name].CopyFrom(tensor)
            return
        self._model.graph.initializer.append(tensor)
        while len(node.input) <= position:
            node.input.append("")
        node.input[position] = name

    def _name(self, node: NodeProto, position: int, old: str) -> str:
        readers = self._index.consumers.get(old, [])
        own = len(readers) == 1 and list(readers[0].input).count(old) == 1 and old not in self._index.outputs
        if old and own:
            return old
        name = free_name(f"{old}_equalized" if old else f"{node.output[0]}_bias", self._names)
        self._names.add(name)
        return name


def spread(factors: DoubleArray, ids: IdArray) -> DoubleArray:
    """The factor of each element: 1 where it belongs to no channel."""
    return np.append(factors, 1.0)[ids]


def checked_factors(anchor: str, factors: npt.NDArray[np.float64], channels: int) -> DoubleArray:
    """Factors that fit.

    Raises:
        RecipeError: they are not as many as channels, or not all finite and positive.
    """
    values = np.asarray(factors, np.float64)
    if values.shape != (channels,) or not (np.isfinite(values) & (values > 0.0)).all():
        raise RecipeError(
            f"the recipe's factors for {anchor!r} are not {channels} finite positive numbers; "
            "give the recipe as it was written"
        )
    return values

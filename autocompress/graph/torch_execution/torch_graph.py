"""An ONNX graph as a torch module whose parameters are the graph's weights, under the graph's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, numpy_helper

from autocompress.errors import ModelError
from autocompress.graph.index import GraphIndex
from autocompress.graph.tensors import densify
from autocompress.graph.torch_execution.call import Call, Tensor
from autocompress.graph.torch_execution.plan import Step, plan_steps
from autocompress.graph.torch_execution.quantization import grid_of
from autocompress.graph.torch_execution.stored import weight_grids
from autocompress.graph.torch_execution.values import as_array, as_tensor
from autocompress.graph.torch_execution.weights import Array, is_float, with_weights
from autocompress.graph.walk import opset_of

Feeds = Mapping[str, Tensor | Array]


class TorchGraph(torch.nn.Module):  # type: ignore[misc]
    """Runs any part of a graph, differentiably.

    Float weights are parameters; integers are constants.  An integer weight that only one DequantizeLinear reads is a
    parameter too: its real value is trained, and rounded to its grid whenever the graph runs ("fake quantization").
    Quantized tensors in between are floats that hold whole numbers.

    Attributes:
        inputs: names of the graph inputs.
        outputs: names of the graph outputs.
        dtype: torch type of computation for float32 and narrower floats.
        grids: weight name -> how it is quantized, for quantized weights.

    Args:
        model: checked and sorted, with its weights inside; not changed and not shared.
        dtype: ``torch.float64`` for checks of gradients.
    """

    def __init__(self, model: ModelProto, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        index = GraphIndex(model)
        self.inputs = tuple(i.name for i in model.graph.input if i.name not in index.initializers)
        self.outputs = tuple(o.name for o in model.graph.output)
        self.grids = weight_grids(index)
        self._calls = [Call(node, opset_of(model), dtype) for node in model.graph.node]
        for call in self._calls:
            if call.node.op_type == "QuantizeLinear":
                call.attributes["grid"] = grid_of(call.node, index)
        # Torch allows no dots in names of parameters, so they have names of their own and a map leads there.
        self._parameter_of: dict[str, str] = {}
        self._constant_of: dict[str, str] = {}
        self._store(model)
        self._first_values = self._model_values()
        self._plans: dict[tuple[frozenset[str], tuple[str, ...]], tuple[Step, ...]] = {}

    @property
    def weights(self) -> dict[str, Any]:
        """Weight name -> parameter, in the order of the graph; quantized weights by their real values."""
        return {name: getattr(self, own) for name, own in self._parameter_of.items()}

    def trainable(self, names: Iterable[str]) -> list[Any]:
        """Makes exactly these weights require gradients.

        Args:
            names: weights of the graph.

        Returns:
            Their parameters, in the order of the graph.

        Raises:
            ModelError: a name is not that of a float or quantized weight.
        """
        chosen = set(names)
        weights = self.weights
        if unknown := chosen - set(weights):
            raise ModelError(f"{min(unknown)!r} is not a weight that can be trained; name float weights of this model")
        for name, parameter in weights.items():
            parameter.requires_grad_(name in chosen)
        return [parameter for name, parameter in weights.items() if name in chosen]

    def forward(self, inputs: Feeds) -> dict[str, Tensor]:
        """Every graph output by name, from all graph inputs by name."""
        return self.run(inputs, self.outputs)

    def run(self, inputs: Feeds, tensors: Sequence[str]) -> dict[str, Tensor]:
        """Chosen tensors.

        Args:
            inputs: values by name; inner tensors may be given in place of what computes them.
            tensors: names of any tensors of the graph.

        Raises:
            ModelError: a tensor does not follow from the inputs, or an operator on the way is not known.
        """
        values = {name: as_tensor(value, self.dtype) for name, value in inputs.items()}
        steps = self.steps(frozenset(values), tuple(tensors))
        for name in {name for step in steps for name in step.inputs if name} | set(tensors):
            if name not in values and self.is_stored(name):
                values[name] = self.stored_value(name)
        for step in steps:
            step.run(values)
        return {name: values[name] for name in tensors}

    def subgraph(self, inputs: Sequence[str], outputs: Sequence[str]) -> SubGraph:
        """The part of the graph from some tensors to others; it shares this graph's parameters.

        Raises:
            ModelError: the outputs do not follow from the inputs, or an operator between them is not known.
        """
        return SubGraph(self, inputs, outputs)

    def weights_between(self, inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
        """Names of the weights that take part in computing ``outputs`` from ``inputs``, in the order of the graph."""
        read = {name for step in self.steps(frozenset(inputs), tuple(outputs)) for name in step.inputs}
        return [name for name in self._parameter_of if name in read]

    def tensors_read(self, given: Iterable[str], wanted: Sequence[str]) -> set[str]:
        """Which of the given tensors are needed to compute ``wanted``.

        Raises:
            ModelError: ``wanted`` does not follow from them, or an operator on the way is not known.
        """
        known = frozenset(given)
        read = {name for step in self.steps(known, tuple(wanted)) for name in step.inputs}
        return set(known & (read | set(wanted)))

    def changed_weights(self) -> dict[str, Array]:
        """Weight name -> present values as the model stores them, for the weights that have changed.

        Quantized weights are whole numbers of their grids.
        """
        return {
            name: array
            for name, array in self._model_values().items()
            if not np.array_equal(array, self._first_values[name])
        }

    def write_back(self, model: ModelProto) -> ModelProto:
        """A copy of ``model`` with the present weights under their own names; unchanged ones keep their bytes.

        Args:
            model: the one this graph was made from, or one that has the same weights by name and shape.

        Raises:
            ModelError: ``model`` lacks a weight, or has it in another shape.
        """
        return with_weights(model, self.changed_weights())

    def _store(self, model: ModelProto) -> None:
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for name, array in arrays.items():
            if is_float(array):
                self._add_parameter(name, as_tensor(array, self.dtype))
            elif array.dtype.kind not in "OSU":  # no operator here reads strings
                self._add_constant(name, array)
        for sparse in model.graph.sparse_initializer:
            self._add_constant(sparse.values.name, densify(sparse))
        for name, grid in self.grids.items():
            scale, zero_point = self.stored_value(grid.scale), self._zero_point(name)
            self._add_parameter(name, grid.real(as_tensor(arrays[name], self.dtype), scale.detach(), zero_point))

    def _add_parameter(self, name: str, value: Tensor) -> None:
        self._parameter_of[name] = f"weight_{len(self._parameter_of)}"
        self.register_parameter(self._parameter_of[name], torch.nn.Parameter(value))

    def _add_constant(self, name: str, array: Array) -> None:
        self._constant_of[name] = f"constant_{len(self._constant_of)}"
        self.register_buffer(self._constant_of[name], as_tensor(array, self.dtype))

    def is_stored(self, name: str) -> bool:
        """Whether a tensor is a weight or a constant of the graph."""
        return name in self._parameter_of or name in self._constant_of

    def _zero_point(self, name: str) -> Tensor | None:
        zero_point = self.grids[name].zero_point
        return self.stored_value(zero_point) if zero_point else None

    def stored_value(self, name: str) -> Tensor:
        """What the graph reads under the name of a weight or constant: a quantized weight is rounded to its grid."""
        if name not in self._parameter_of:
            return getattr(self, self._constant_of[name])
        parameter = getattr(self, self._parameter_of[name])
        if name not in self.grids:
            return parameter
        return self.grids[name].round(parameter, self.stored_value(self.grids[name].scale), self._zero_point(name))

    def _model_values(self) -> dict[str, Array]:
        with torch.no_grad():
            return {name: as_array(self.stored_value(name)) for name in self._parameter_of}

    def steps(self, given: frozenset[str], wanted: tuple[str, ...]) -> tuple[Step, ...]:
        """What has to run, in order, to compute ``wanted`` from ``given`` and what is stored.

        Raises:
            ModelError: ``wanted`` does not follow from them, or an operator on the way is not known.
        """
        key = given, wanted
        if key not in self._plans:
            stored = self._parameter_of.keys() | self._constant_of.keys()
            self._plans[key] = plan_steps(self._calls, given, stored, wanted)
        return self._plans[key]


class SubGraph:
    """The part of a graph between tensors; made by ``TorchGraph.subgraph``.

    Attributes:
        inputs: tensors that it is given.
        outputs: tensors that it computes.
        weights: name -> parameter, for the weights that take part; shared with the whole graph.
    """

    def __init__(self, graph: TorchGraph, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._graph = graph
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        own = set(graph.weights_between(inputs, outputs))
        self.weights = {name: parameter for name, parameter in graph.weights.items() if name in own}

    def __call__(self, inputs: Feeds) -> dict[str, Tensor]:
        """The outputs by name, from all inputs by name."""
        return self._graph.run({name: inputs[name] for name in self.inputs}, self.outputs)

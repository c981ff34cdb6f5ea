"""The quantized model as a float model that shows what rounding its weights does: Q/DQ at activations, real weights.

Weights and biases of the layers to reconstruct become initializers of their own, so that they can be replaced one
after the other without writing the model again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, numpy_helper

from autocompress.graph.model import copy_model
from autocompress.graph.rewrite import drop_dead, free_name, tensor_names

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SimulatedLayer:
    """Where a layer's numbers are in the simulation.

    Attributes:
        weight: initializer that holds the dequantized weight.
        bias: initializer that holds the bias, or None where the layer has none.
    """

    weight: str
    bias: str | None


def simulate(
    emitted: ModelProto, weights: Mapping[str, FloatArray], biases: Mapping[str, FloatArray]
) -> tuple[ModelProto, dict[str, SimulatedLayer]]:
    """Makes weights of an emitted model replaceable.

    Args:
        emitted: model with Q/DQ pairs; not changed.
        weights: node name -> weight.
        biases: node name -> bias of shape (output channels,), for a subset of those nodes.

    Returns:
        The simulation, and where each layer's numbers are.
    """
    model = copy_model(emitted)
    taken = tensor_names(model)
    layers: dict[str, SimulatedLayer] = {}
    for node in model.graph.node:
        if node.name not in weights:
            continue
        node.input[1] = _add(model, taken, f"{node.name}_weight_simulated", weights[node.name])
        bias = None
        if node.name in biases:
            bias = _add(model, taken, f"{node.name}_bias_simulated", biases[node.name])
            _set_third_input(node, bias)
        layers[node.name] = SimulatedLayer(node.input[1], bias)
    drop_dead(model)
    return model, layers


def _add(model: ModelProto, taken: set[str], wanted: str, values: FloatArray) -> str:
    name = free_name(wanted, taken)
    taken.add(name)
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
    return name


def _set_third_input(node: NodeProto, name: str) -> None:
    if len(node.input) > 2:
        node.input[2] = name
    else:
        node.input.append(name)

"""What fake-quantized students need: real values behind integers, and biases that fit learned step sizes."""

from __future__ import annotations

import torch
from onnx import ModelProto, NodeProto

from autocompress.graph.index import GraphIndex
from autocompress.graph.torch_execution.torch_graph import TorchGraph
from autocompress.graph.torch_execution.weights import Array
from autocompress.passes.recover.trainable import kept_zeros

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_ALIKE = 0.9  # share of equal integers from which a float weight is taken for the origin of a quantized one


@torch.no_grad()  # type: ignore[untyped-decorator]
def adopt_real_weights(student: TorchGraph, teacher: TorchGraph, models: tuple[ModelProto, ModelProto]) -> None:
    """Sets quantized weights to the floats that they were rounded from, where the teacher still has them.

    Args:
        student: with quantized weights; changed.
        teacher: the original.
        models: both as ONNX, student first; layers are matched by node name.
    """
    for name, origin in _origins(student, models).items():
        if origin in teacher.weights:
            _adopt(student, name, teacher.weights[origin])


def quantized_zeros(student: TorchGraph, models: tuple[ModelProto, ModelProto]) -> dict[str, Array]:
    """Quantized weight -> boolean array, False where the float weight that it was rounded from is zero on purpose.

    Args:
        student: with quantized weights.
        models: the student and the float model, as ONNX.
    """
    origins = _origins(student, models)
    zeros = kept_zeros(models[1], list(origins.values()))
    return {name: zeros[origin] for name, origin in origins.items() if origin in zeros}


def _origins(student: TorchGraph, models: tuple[ModelProto, ModelProto]) -> dict[str, str]:
    """Quantized weight -> float weight of the layer of that name in the other model, where it has the same shape."""
    own, other = (GraphIndex(model) for model in models)
    found: dict[str, str] = {}
    for name, layer in _quantized_layers(own, student).items():
        twin = other.nodes.get(layer.name)
        origin = other.initializers.get(twin.input[1]) if twin is not None and twin.op_type == layer.op_type else None
        if origin is not None and tuple(origin.dims) == tuple(student.weights[name].shape):
            found[name] = origin.name
    return found


@torch.no_grad()  # type: ignore[untyped-decorator]
def _adopt(student: TorchGraph, name: str, origin: torch.Tensor) -> None:
    parameter = student.weights[name]
    before, rounded = student.stored_value(name), parameter.clone()
    parameter.copy_(origin)
    if float((student.stored_value(name) == before).float().mean()) < _ALIKE:
        parameter.copy_(rounded)


@torch.no_grad()  # type: ignore[untyped-decorator]
def tie_bias_steps(graph: TorchGraph, model: ModelProto) -> None:
    """Makes the step of each integer bias the product of its layer's input and weight steps, as kernels assume."""
    index = GraphIndex(model)
    for node in model.graph.node:
        if node.op_type not in _LAYERS or len(node.input) < 3:
            continue
        data, weight, bias = (index.producers.get(name) for name in node.input[:3])
        parts = [part for part in (data, weight, bias) if part is not None and part.op_type == "DequantizeLinear"]
        if len(parts) == 3 and parts[2].input[0] in graph.grids and parts[2].input[1] in graph.weights:
            step = graph.stored_value(parts[0].input[1]) * graph.stored_value(parts[1].input[1])
            own = graph.weights[parts[2].input[1]]
            own.copy_(step.expand_as(own) if step.numel() == 1 else step.reshape(own.shape))


def _quantized_layers(index: GraphIndex, student: TorchGraph) -> dict[str, NodeProto]:
    """Name of a quantized weight -> the layer that reads it."""
    layers: dict[str, NodeProto] = {}
    for name in student.grids:
        dequantize = index.sole_consumer(name)
        if dequantize is None:
            continue
        layer = index.sole_consumer(dequantize.output[0])
        if layer is not None and layer.op_type in _LAYERS and layer.input[1] == dequantize.output[0]:
            layers[name] = layer
    return layers

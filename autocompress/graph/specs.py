"""What goes into a model and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto, TensorShapeProto, ValueInfoProto

from autocompress.graph.tensors import dtype_name

Size = int | str | None


@dataclass(frozen=True)
class TensorSpec:
    """One model input or output.

    Attributes:
        name: tensor name.
        dtype: numpy-style name ("float32", "int64", "string", ...).
        shape: an int where fixed, a symbol or None where dynamic; () for a scalar and for an output of unknown rank.
    """

    name: str
    dtype: str
    shape: tuple[Size, ...]


def input_specs(model: ModelProto) -> tuple[TensorSpec, ...]:
    """The true inputs, in order: weights that are also listed as graph inputs are none."""
    weights = {weight.name for weight in model.graph.initializer}
    weights.update(sparse.values.name for sparse in model.graph.sparse_initializer)
    return tuple(_spec(given) for given in model.graph.input if given.name not in weights)


def output_specs(model: ModelProto) -> tuple[TensorSpec, ...]:
    """The outputs, in order, as the model declares them."""
    return tuple(_spec(output) for output in model.graph.output)


def dimension(dim: TensorShapeProto.Dimension) -> Size:
    """A declared size: an int, a symbol, or None; exporters also write -1, 0 and, for any size, "?"."""
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value > 0 else None
    symbol = str(dim.dim_param)
    return symbol if any(map(str.isalpha, symbol)) else None


def _spec(value: ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    return TensorSpec(value.name, dtype_name(tensor.elem_type), tuple(dimension(dim) for dim in tensor.shape.dim))

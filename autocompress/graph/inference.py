"""Types and shapes of every tensor, as far as they follow from the inputs."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from autocompress.graph.constants import fold_known
from autocompress.graph.skeleton import skeleton
from autocompress.graph.specs import Size, dimension
from autocompress.graph.walk import is_standard

_INVENTED_SYMBOL = "unk__"  # how onnx.shape_inference calls sizes that it knows nothing about


def infer_shapes(model: ModelProto) -> ModelProto:
    """A copy annotated with the types and shapes of its intermediate tensors.

    Uses ``onnx.shape_inference`` with data propagation; where sizes stay open, the shape arithmetic of the graph is
    computed and inference is repeated.  Heavy weights take no part.  Annotations that came with the model are only
    kept for operators outside the ONNX standard, which inference cannot see through.
    """
    inferred = ModelProto()
    inferred.CopyFrom(model)
    drop_annotations(inferred)
    light, _ = skeleton(inferred)
    weights = {weight.name: weight for weight in model.graph.initializer}
    for output in light.graph.output:
        output.type.tensor_type.ClearField("shape")
        if output.name in weights:  # inference would believe the output's missing shape rather than the weight's
            output.CopyFrom(_weight_value(weights[output.name]))
    values = _all_values(light)
    outputs = {output.name for output in model.graph.output}
    results = [name for node in model.graph.node for name in node.output if name]
    del inferred.graph.value_info[:]
    inferred.graph.value_info.extend(values[name] for name in results if name in values and name not in outputs)
    for output in inferred.graph.output:
        if output.name in values:
            _refine(output, values[output.name])
    return inferred


def drop_annotations(model: ModelProto) -> None:
    """Removes, in place, the intermediate shapes that inference finds again (they may be stale)."""
    opaque = {name for node in model.graph.node if not is_standard(node.domain) for name in node.output}
    kept = [value for value in model.graph.value_info if value.name in opaque]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)


def declared_shapes(model: ModelProto) -> Mapping[str, tuple[Size, ...]]:
    """Tensor name -> sizes, for inputs, weights, and outputs and annotated tensors of known rank."""
    shapes: dict[str, tuple[Size, ...]] = {w.name: tuple(int(d) for d in w.dims) for w in model.graph.initializer}
    for given in model.graph.input:
        shapes.setdefault(given.name, tuple(dimension(dim) for dim in given.type.tensor_type.shape.dim))
    for value in (*model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.HasField("shape"):
            shapes.setdefault(value.name, _sizes(value))
    return shapes


def static_shapes(model: ModelProto) -> Mapping[str, tuple[int, ...]]:
    """Tensor name -> shape, for the tensors of :func:`declared_shapes` whose every size is a number."""
    static: dict[str, tuple[int, ...]] = {}
    for name, sizes in declared_shapes(model).items():
        numbers = tuple(size for size in sizes if isinstance(size, int))
        if len(numbers) == len(sizes):
            static[name] = numbers
    return static


def element_types(model: ModelProto) -> Mapping[str, int]:
    """Tensor name -> ONNX element type, for inputs, weights and annotated tensors."""
    types = {weight.name: int(weight.data_type) for weight in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type:
            types.setdefault(value.name, int(value.type.tensor_type.elem_type))
    return types


def _all_values(light: ModelProto) -> dict[str, ValueInfoProto]:
    """Tensor name -> type, after as many rounds of inference and shape arithmetic as tell anything new."""
    values: dict[str, ValueInfoProto] = {}
    while True:
        light = onnx.shape_inference.infer_shapes(light, check_type=False, strict_mode=False, data_prop=True)
        values.update((value.name, value) for value in (*light.graph.value_info, *light.graph.output))
        is_open = any(not isinstance(size, int) for value in light.graph.value_info for size in _sizes(value))
        before = len(light.graph.initializer)
        if not is_open or not fold_known(light, declared_shapes(light), element_types(light)):
            return values
        for weight in light.graph.initializer[before:]:
            values[weight.name] = _weight_value(weight)
        drop_annotations(light)


def _refine(declared: ValueInfoProto, inferred: ValueInfoProto) -> None:
    """Takes inferred numbers over declared ones, in place; a declared size stays where inference found none."""
    found = inferred.type.tensor_type
    if not found.HasField("shape"):
        return
    own = declared.type.tensor_type
    if not own.HasField("shape") or len(own.shape.dim) != len(found.shape.dim):
        own.shape.CopyFrom(found.shape)
        for dim in own.shape.dim:
            if dim.dim_param.startswith(_INVENTED_SYMBOL):
                dim.Clear()
        return
    for dim, result in zip(own.shape.dim, found.shape.dim, strict=True):
        if isinstance(dimension(result), int):
            dim.CopyFrom(result)


def _weight_value(weight: TensorProto) -> ValueInfoProto:
    return helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims))


def _sizes(value: ValueInfoProto) -> tuple[Size, ...]:
    """Sizes of a result; unlike in an input, 0 there means an empty tensor."""
    dims = value.type.tensor_type.shape.dim
    return tuple(0 if dim.HasField("dim_value") and dim.dim_value == 0 else dimension(dim) for dim in dims)

"""A model without its heavy weights: what the checker, shape inference and the opset converter need to see.

Those tools serialize what they are given, which costs time in proportion to the weights and fails above 2 GB.
Each heavy initializer of the main graph therefore becomes a graph input of the same type; small ones stay, because
shape inference reads their values.
"""

from __future__ import annotations

from onnx import ModelProto, TensorProto, helper

from autocompress.graph.tensors import element_count

HEAVY_ELEMENTS = 1024


def copy_without(model: ModelProto, heavy: frozenset[str]) -> ModelProto:
    """A copy that lacks the named initializers of the main graph (their bytes are never copied)."""
    bare = ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            _copy_field(bare, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            _copy_field(bare.graph, field.name, value)
    bare.graph.initializer.extend(weight for weight in model.graph.initializer if weight.name not in heavy)
    return bare


def skeleton(model: ModelProto) -> tuple[ModelProto, dict[str, TensorProto]]:
    """Splits a model into what is light and its heavy weights.

    Returns:
        A copy in which heavy initializers are graph inputs, and those initializers by name (not copied).
    """
    heavy = {w.name: w for w in model.graph.initializer if element_count(w.dims) > HEAVY_ELEMENTS}
    light = copy_without(model, frozenset(heavy))
    declared = {given.name for given in light.graph.input}
    light.graph.input.extend(
        helper.make_tensor_value_info(name, weight.data_type, list(weight.dims))
        for name, weight in heavy.items()
        if name not in declared
    )
    return light, heavy


def attach(light: ModelProto, heavy: dict[str, TensorProto], inputs: frozenset[str]) -> None:
    """Puts heavy weights back, in place; the inverse of :func:`skeleton`.

    Args:
        light: the skeleton, possibly changed since.
        heavy: weights by name.
        inputs: names of the graph inputs that the model had before.
    """
    kept = [given for given in light.graph.input if given.name in inputs]
    del light.graph.input[:]
    light.graph.input.extend(kept)
    rest = list(light.graph.initializer)
    del light.graph.initializer[:]
    light.graph.initializer.extend(heavy.values())
    light.graph.initializer.extend(rest)


def _copy_field(target: object, name: str, value: object) -> None:
    destination = getattr(target, name)
    if hasattr(destination, "extend"):
        destination.extend(value)
    elif hasattr(destination, "CopyFrom"):
        destination.CopyFrom(value)
    else:
        setattr(target, name, value)

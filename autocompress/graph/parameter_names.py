"""Which parameters of a PyTorch module each weight of its exported model holds.

An exporter keeps a parameter's name where it stores the parameter as it is, and invents one where it transposed it,
reordered its gates, or stacked the directions of a recurrent layer.  Those are recognized by their values: a weight,
its part per direction, or half of such a part, holds a parameter if both are the same numbers in any order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, numpy_helper

Array = npt.NDArray[np.generic]
ParameterNames = dict[str, tuple[str, ...]]

FEWEST_VALUES = 4  # fewer numbers coincide by chance


def match_parameters(model: ModelProto, parameters: Mapping[str, Array]) -> ParameterNames:
    """Weight name -> names of the parameters it holds, in order; weights that hold none are left out.

    A weight into which the exporter folded something (a BatchNormalization) still carries its parameter's name.

    Args:
        model: the exported model.
        parameters: the module's state, by name.
    """
    by_values: dict[str, str] = {}
    names: ParameterNames = {}
    stored = {weight.name for weight in model.graph.initializer}
    for name, values in parameters.items():
        if name not in stored and values.size >= FEWEST_VALUES:
            by_values.setdefault(weight_identity(values), name)
    for weight in model.graph.initializer:
        if weight.name in parameters:
            names[weight.name] = (weight.name,)
            continue
        if not by_values:
            continue
        held = _held(numpy_helper.to_array(weight), by_values)
        if held:
            names[weight.name] = held
    return names


def _held(values: Array, by_values: Mapping[str, str]) -> tuple[str, ...]:
    """Parameter names by the coarsest division of the weight whose every part is a parameter."""
    for parts in _divisions(values):
        found = [by_values.get(weight_identity(part)) for part in parts]
        names = tuple(name for name in found if name is not None)
        if parts and len(names) == len(parts):
            return names
    return ()


def _divisions(values: Array) -> Iterator[list[Array]]:
    if values.size < FEWEST_VALUES or values.dtype.kind not in "fV":
        return
    yield [values]
    directions = list(values) if values.ndim > 1 else []
    if len(directions) <= 2:  # one per direction of a recurrent layer
        yield directions
        yield [half for part in directions if part.ndim == 1 for half in np.split(part, [part.size // 2])]


def weight_identity(values: Array) -> str:
    """A digest of the numbers, whatever their order and shape."""
    flat = np.sort(np.asarray(values, dtype=np.float32).reshape(-1))
    return hashlib.sha256(flat.tobytes()).hexdigest()

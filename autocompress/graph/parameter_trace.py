"""Follows the parameters of a PyTorch module from one form of its exported model to the next.

Passes keep the name of a weight as long as it keeps its meaning, and derive new names from old ones: the integers of a
weight are ``<layer>_weight_quantized`` or ``<weight>_<step>_<role>``.  A weight that was only transposed or reshaped
still holds the same numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from autocompress.graph.parameter_names import FEWEST_VALUES, ParameterNames, weight_identity

# What stands beside the integers of a weight, and holds no parameter itself.
_COMPANIONS = ("scale", "zero")
_BIAS_OPERAND = 2
_OPERAND = re.compile(r"operand(\d+)")
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})


def trace_parameters(names: Mapping[str, tuple[str, ...]], before: ModelProto, after: ModelProto) -> ParameterNames:
    """Weight name of ``after`` -> names of the parameters it holds, or holds the rounded or changed values of.

    Args:
        names: the same of ``before``.
        before: a form of the model.
        after: what passes made of it.
    """
    known = _Known(names, before)
    found = {
        w.name: names.get(w.name) or known.by_origin(w.name) or known.by_values(w) for w in after.graph.initializer
    }
    return {name: held for name, held in found.items() if held}


class _Known:
    """The parameters of one form of the model, by the ways in which the next form may refer to them."""

    def __init__(self, names: Mapping[str, tuple[str, ...]], model: ModelProto) -> None:
        self._weights = names
        self._layers = {node.name: node for node in model.graph.node if node.name}
        self._identities = {
            weight_identity(numpy_helper.to_array(weight)): names[weight.name]
            for weight in model.graph.initializer
            if weight.name in names and math.prod(weight.dims) >= FEWEST_VALUES
        }

    def by_origin(self, name: str) -> tuple[str, ...]:
        """Parameters of the weight or layer from whose name a pass derived this one."""
        for origin, role in _divisions(name):
            if any(word in role for word in _COMPANIONS):
                continue
            if origin in self._weights and not role.startswith("bias"):  # what was folded into a layer without a bias
                return self._weights[origin]
            if origin in self._layers:
                return self._of_layer(self._layers[origin], role)
        return ()

    def by_values(self, weight: TensorProto) -> tuple[str, ...]:
        """Parameters of the weight that held the same numbers, in whatever order."""
        if weight.data_type not in _FLOATS or math.prod(weight.dims) < FEWEST_VALUES:
            return ()
        return self._identities.get(weight_identity(numpy_helper.to_array(weight)), ())

    def _of_layer(self, layer: NodeProto, role: str) -> tuple[str, ...]:
        if role.startswith("weight"):
            return next((self._weights[name] for name in layer.input if name in self._weights), ())
        numbered = _OPERAND.match(role)
        if not numbered and not role.startswith("bias"):
            return ()
        position = int(numbered.group(1)) if numbered else _BIAS_OPERAND
        return self._weights.get(layer.input[position], ()) if position < len(layer.input) else ()


def _divisions(name: str) -> Iterator[tuple[str, str]]:
    """Every way to read a name as ``<origin>_<role>``, the longest origin first."""
    for end in range(len(name) - 1, 0, -1):
        if name[end] == "_":
            yield name[:end], name[end + 1 :]

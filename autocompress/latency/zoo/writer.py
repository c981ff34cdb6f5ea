"""Writes graphs node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET = 17


@dataclass(frozen=True)
class Value:
    """A tensor under construction.

    Attributes:
        name: its name.
        shape: its sizes.
    """

    name: str
    shape: tuple[int, ...]


class GraphWriter:
    """A graph under construction."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    def input(self, shape: Sequence[int], name: str = "x", dtype: int = TensorProto.FLOAT) -> Value:
        """Adds an input."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return Value(name, tuple(shape))

    def mask(self, length: int) -> Value:
        """The input that says which tokens are present, of shape (1, length); added once."""
        if not any(given.name == "mask" for given in self._inputs):
            self.input((1, length), "mask", TensorProto.INT64)
        return Value("mask", (1, length))

    def constant(self, values: npt.NDArray[np.generic]) -> Value:
        """Adds a constant operand."""
        return Value(self._constant(values), np.shape(values))

    def split(self, x: Value, parts: Sequence[int], axis: int) -> list[Value]:
        """Cuts a tensor into pieces of the given sizes, in float, except where a variant is placed."""
        shapes = [(*x.shape[:axis], part, *x.shape[axis + 1 :]) for part in parts]
        sizes = self._constant(np.asarray(parts, np.int64))
        return self.several("Split", [x, Value(sizes, (len(parts),))], shapes, axis=axis)

    def several(
        self, op_type: str, inputs: Sequence[Value], shapes: Sequence[Sequence[int]], **attributes: object
    ) -> list[Value]:
        """Adds an operator with several results, in float, except where a variant is placed."""
        name = f"{op_type}_{len(self._nodes)}"
        results = [f"{name}_out{i}" for i in range(len(shapes))]
        self._nodes.append(helper.make_node(op_type, [v.name for v in inputs], results, name=name, **attributes))
        return [Value(result, tuple(shape)) for result, shape in zip(results, shapes, strict=True)]

    def model(self, outputs: Sequence[Value]) -> onnx.ModelProto:
        """The model with these results."""
        graph = helper.make_graph(
            self._nodes,
            "network",
            self._inputs,
            [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, v.shape) for v in outputs],
            self._weights,
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def _add(self, op_type: str, inputs: Sequence[str], **attributes: object) -> str:
        name = f"{op_type}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op_type, list(inputs), [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def _constant(self, values: npt.NDArray[np.generic]) -> str:
        name = f"constant_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

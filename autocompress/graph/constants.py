"""Computing ahead what does not depend on the model's inputs: shape arithmetic, and rearranged or combined weights.

Only operators that move data, compare, index or do elementary arithmetic are evaluated (by onnx's own reference
implementation), so nothing is folded whose result could differ from the runtime's beyond rounding.  Quantizing
operators are left: folding a DequantizeLinear would undo a compression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from autocompress.graph.rewrite import replace_nodes
from autocompress.graph.specs import Size
from autocompress.graph.walk import is_standard, opset_of, subgraphs

Array = npt.NDArray[np.generic]

_SHAPE_READERS = frozenset({"Shape", "Size"})
_ELEMENTWISE = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"}
    | {"And", "Or", "Not", "Where", "Neg", "Abs", "Floor", "Ceil", "Sqrt", "Reciprocal", "Exp", "Cast"}
)
_MOVING = frozenset(
    {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Concat", "Identity", "Trilu"}
    | {"ReduceProd", "ReduceSum", "ReduceMin", "ReduceMax", "ScatterND"}
)
_GROWING = frozenset({"Range", "ConstantOfShape", "Expand", "Tile", "Gather"})
_REPEATING = frozenset({"Expand", "Tile", "Gather"})
FOLDABLE = _ELEMENTWISE | _MOVING | _GROWING

SMALL_BYTES = 64 * 1024  # a result up to this size is stored even if its operands are smaller


def fold_known(model: ModelProto, shapes: Mapping[str, Sequence[Size]], types: Mapping[str, int] | None = None) -> bool:
    """Replaces nodes of the main graph whose results are known by weights of the same names, in place.

    Nodes that compute graph outputs stay, as do results much larger than what they are computed from.  Weights that
    become unused are left (see ``rewrite.drop_dead``).

    Args:
        model: changed in place.
        shapes: tensor name -> sizes, as far as known; lets Shape nodes be computed.
        types: tensor name -> ONNX element type; a result of another type is not stored.

    Returns:
        Whether anything was replaced.
    """
    folding = _Folding(model, shapes, types or {})
    kept = [node for node in model.graph.node if not folding.fold(node)]
    if len(kept) == len(model.graph.node):
        return False
    replace_nodes(model, kept)
    model.graph.initializer.extend(folding.stored)
    return True


class _Folding:
    """One walk over a graph in topological order."""

    def __init__(self, model: ModelProto, shapes: Mapping[str, Sequence[Size]], types: Mapping[str, int]) -> None:
        self._weights = {weight.name: weight for weight in model.graph.initializer}
        self._values: dict[str, Array] = {}
        self._partial: dict[str, Sequence[Size]] = {}
        self._outputs = {output.name for output in model.graph.output}
        self._opset = opset_of(model)
        self._shapes = shapes
        self._types = types
        self.stored: list[TensorProto] = []

    def fold(self, node: NodeProto) -> bool:
        """Whether the node's results are now stored as weights."""
        if not is_standard(node.domain) or any(name in self._outputs for name in node.output):
            return False
        results = self._from_shapes(node) or self._from_values(node)
        if results is None or not self._types_fit(node, results):
            return False
        for name, array in zip(node.output, results, strict=True):
            if name:
                self._values[name] = array
                self.stored.append(numpy_helper.from_array(array, name))
        return True

    def _from_shapes(self, node: NodeProto) -> list[Array] | None:
        """Results that follow from sizes alone, even if other sizes of the same tensor are unknown."""
        if node.op_type in _SHAPE_READERS:
            sizes = self._shapes.get(node.input[0])
            if sizes is None:
                return None
            if node.op_type == "Shape":
                sizes = _slice_of_shape(node, sizes)
                self._partial[node.output[0]] = sizes
            numbers = [size for size in sizes if isinstance(size, int)]
            if len(numbers) != len(sizes):
                return None
            value = math.prod(numbers) if node.op_type == "Size" else numbers
            return [np.asarray(value, dtype=np.int64)]
        if node.op_type in ("Gather", "Slice") and node.input[0] in self._partial:
            return self._chosen_sizes(node)
        return None

    def _chosen_sizes(self, node: NodeProto) -> list[Array] | None:
        sizes = self._partial[node.input[0]]
        rest = [self._value(name) for name in node.input[1:]]
        if any(value is None for value in rest):
            return None
        # Applying the node to positions tells which sizes it selects.
        positions = evaluate(node, [np.arange(len(sizes), dtype=np.int64), *rest], self._opset)
        if positions is None:
            return None
        chosen = [sizes[int(position)] for position in positions[0].reshape(-1)]
        if not all(isinstance(size, int) for size in chosen):
            return None
        return [np.asarray(chosen, dtype=np.int64).reshape(positions[0].shape)]

    def _from_values(self, node: NodeProto) -> list[Array] | None:
        if node.op_type not in FOLDABLE or next(subgraphs(node), None) is not None:
            return None
        if not all(not name or name in self._values or name in self._weights for name in node.input):
            return None
        operands = [self._value(name) for name in node.input]
        if any(operand is not None and operand.dtype == object for operand in operands):
            return None
        if not _worth_storing(node, operands):
            return None
        return evaluate(node, operands, self._opset)

    def _value(self, name: str) -> Array | None:
        if name not in self._values and name in self._weights:
            self._values[name] = numpy_helper.to_array(self._weights[name])
        return self._values.get(name)

    def _types_fit(self, node: NodeProto, results: Sequence[Array]) -> bool:
        return all(
            self._types.get(name, kind) == kind
            for name, kind in zip(
                node.output, (helper.np_dtype_to_tensor_dtype(array.dtype) for array in results), strict=True
            )
        )


def evaluate(node: NodeProto, operands: Sequence[Array | None], opset: int) -> list[Array] | None:
    """A node's results by onnx's reference implementation, or None where it fails.

    Args:
        node: a standard operator without bodies.
        operands: its inputs in order, None for omitted ones.
        opset: version of the standard operator set.
    """
    from onnx.reference import ReferenceEvaluator

    feeds = {name: value for name, value in zip(node.input, operands, strict=True) if name and value is not None}
    graph = helper.make_graph(
        [node],
        "constant",
        [helper.make_empty_tensor_value_info(name) for name in feeds],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # whatever the reference cannot do stays in the graph, where the runtime does it
        return None
    named = iter(results)
    arrays = [np.asarray(next(named)) if name else np.empty(0) for name in node.output]
    return None if any(array.dtype == object for array in arrays) else arrays


def _slice_of_shape(node: NodeProto, sizes: Sequence[Size]) -> Sequence[Size]:
    bounds = {attribute.name: int(attribute.i) for attribute in node.attribute}
    return list(sizes)[bounds.get("start", 0) : bounds.get("end")]


def _worth_storing(node: NodeProto, operands: Sequence[Array | None]) -> bool:
    """Whether the result is small, or not larger than its operands together."""
    given = [operand for operand in operands if operand is not None]
    # What moves data gives results as wide as its first operand, whatever the width of its indices.
    moved = given[:1] if node.op_type in _MOVING or node.op_type in _REPEATING else given
    width = max((operand.itemsize for operand in moved), default=8)
    try:
        elements = _GROWTH.get(node.op_type, _broadcast_elements)(given)
    except (ValueError, IndexError, ZeroDivisionError):
        return False
    return elements * width <= max(SMALL_BYTES, sum(operand.nbytes for operand in given))


def _broadcast_elements(given: Sequence[Array]) -> int:
    return math.prod(np.broadcast_shapes(*(operand.shape for operand in given)))


def _first_elements(given: Sequence[Array]) -> int:
    return given[0].size


def _total_elements(given: Sequence[Array]) -> int:
    return sum(operand.size for operand in given)


def _range_elements(given: Sequence[Array]) -> int:
    start, limit, delta = (float(operand.item()) for operand in given)
    return max(0, math.ceil((limit - start) / delta))


def _expand_elements(given: Sequence[Array]) -> int:
    return math.prod(np.broadcast_shapes(given[0].shape, tuple(int(size) for size in given[1].reshape(-1))))


_GROWTH: dict[str, Callable[[Sequence[Array]], int]] = {
    **dict.fromkeys(_MOVING, _first_elements),
    "Concat": _total_elements,
    "Range": _range_elements,
    "ConstantOfShape": lambda given: math.prod(int(size) for size in given[0].reshape(-1)),
    "Expand": _expand_elements,
    "Tile": lambda given: given[0].size * math.prod(int(count) for count in given[1].reshape(-1)),
    "Gather": lambda given: given[1].size * given[0].size // max(1, min(given[0].shape, default=1)),
}

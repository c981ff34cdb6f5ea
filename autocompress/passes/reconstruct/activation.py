"""The activation behind a layer as a function of one number, with its slope.

Relu and Clip are exact.  Anything else that is made of elementwise operators and scalar constants (SiLU, HardSwish,
Gelu in whatever it is written) is computed by the runtime on a fine grid over the values that the layer gives, and is
linear in between and beyond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from autocompress.errors import RuntimeFailure
from autocompress.graph.index import GraphIndex
from autocompress.graph.model import model_bytes
from autocompress.passes.quantize.activations import closed_pieces
from autocompress.passes.reconstruct.layer import FloatArray
from autocompress.runtimes.onnxruntime_session import native_session
from autocompress.runtimes.protocol import SessionOptions

_ELEMENTWISE = frozenset(
    {
        *("Abs", "Add", "Div", "Erf", "Exp", "Identity", "Log", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal"),
        *("Sqrt", "Sub", "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu"),
        *("Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu"),
    }
)
_MOST_NODES = 12  # Gelu by Tanh takes 8
_MOST_INTERVALS = 1 << 16
_COARSER = (16, 4, 1)  # few intervals stay in the fastest cache
_TOLERANCE = 1e-5  # of the span of the function's values
_MARGIN = 0.25  # of the range of the values, on either side: the rounded layer goes beyond


@dataclass(frozen=True)
class Clipping:
    """Lets values through between two bounds; everything without bounds.

    Attributes:
        low: lower bound.
        high: upper bound.
    """

    low: float = -math.inf
    high: float = math.inf

    def over(self, low: float, high: float) -> Clipping:
        """Itself: it is the same over any range."""
        del low, high
        return self

    def value(self, z: FloatArray) -> FloatArray:
        """The activation of each element of ``z``."""
        clipped: FloatArray = np.clip(z, self.low, self.high)
        return clipped

    def slope(self, z: FloatArray) -> FloatArray:
        """Its derivative at each element of ``z``."""
        return ((z > self.low) & (z < self.high)).astype(np.float32)

    def value_and_slope(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Both."""
        return self.value(z), self.slope(z)


@dataclass(frozen=True, eq=False)
class Tabulated:
    """A function that is linear on each of many intervals of the same width, and goes on straight beyond them.

    Attributes:
        low: where the first interval begins.
        width: of an interval.
        slopes: of each interval.
        offsets: of each interval, so that the value is ``slope * z + offset``.
    """

    low: float
    width: float
    slopes: FloatArray
    offsets: FloatArray

    def value(self, z: FloatArray) -> FloatArray:
        """The function of each element of ``z``."""
        return self.value_and_slope(z)[0]

    def value_and_slope(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The function of each element of ``z``, and its derivative there."""
        place = z * np.float32(1.0 / self.width)
        place -= np.float32(self.low / self.width)
        interval = np.clip(place, 0.0, len(self.slopes) - 1.0, out=place).astype(np.intp)
        slope = self.slopes.take(interval, mode="clip")
        value = self.offsets.take(interval, mode="clip")
        value += slope * z
        return value, slope


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of graph that is a function of one number.

    Attributes:
        model: the piece as a model, from values of shape (count,) to their results.
    """

    model: ModelProto

    def over(self, low: float, high: float) -> Clipping | Tabulated:
        """The function over a range and somewhat beyond; none (no bounds) where it is not finite all over it."""
        margin = _MARGIN * (high - low)
        ends = (low - margin, high + margin)
        if not (math.isfinite(ends[0]) and math.isfinite(ends[1]) and np.float32(ends[0]) < np.float32(ends[1])):
            return Clipping()
        grid = np.linspace(*ends, _MOST_INTERVALS + 1)
        values = self.computed(grid.astype(np.float32)).astype(np.float64)
        if not np.isfinite(values).all():
            return Clipping()
        step = next(step for step in _COARSER if step == 1 or _fine_enough(values, step))
        width = step * (ends[1] - ends[0]) / _MOST_INTERVALS
        slopes = np.diff(values[::step]) / width
        offsets = values[:-1:step] - slopes * grid[:-1:step]
        return Tabulated(ends[0], width, slopes.astype(np.float32), offsets.astype(np.float32))

    def computed(self, values: FloatArray) -> FloatArray:
        """What the runtime makes of values of shape (count,)."""
        session = native_session(model_bytes(self.model), SessionOptions())
        (result,) = session.run(None, {self.model.graph.input[0].name: values})
        found: FloatArray = np.asarray(result, np.float32)
        return found


Activation = Clipping | Tabulated


def _fine_enough(values: npt.NDArray[np.float64], step: int) -> bool:
    """Whether every so many values are enough to know those half way between them."""
    between = 0.5 * (values[:-step:step] + values[step::step])
    away = np.abs(between - values[step // 2 :: step][: len(between)])
    return bool(away.max() <= _TOLERANCE * np.ptp(values))


def activation_behind(index: GraphIndex, tensor: str, model: ModelProto) -> Clipping | Piece | None:
    """The activation that is all that reads a tensor, or None where there is none or it is no function of one number.

    Args:
        index: of the model's graph.
        tensor: output of a layer.
        model: for its opsets.
    """
    follower = index.sole_consumer(tensor)
    if follower is not None and not follower.domain and follower.op_type in ("Relu", "Clip"):
        return _clipping(follower, index)
    piece = None
    for nodes, result in closed_pieces(index, tensor, _MOST_NODES, joins=lambda node: _is_function(node, index)):
        piece = _piece(nodes, tensor, result, index, model)
    return piece if piece is not None and _runs(piece) else None


def _clipping(node: NodeProto, index: GraphIndex) -> Clipping | None:
    if node.op_type == "Relu":
        return Clipping(0.0)
    bounds = [-math.inf, math.inf]
    for i, name in enumerate(node.input[1:3]):
        if name and not index.is_constant(name):
            return None
        if name:
            bounds[i] = float(index.weight(name).reshape(-1)[0])
    return Clipping(*bounds)


def _is_function(node: NodeProto, index: GraphIndex) -> bool:
    """Whether a node's result depends, element by element, on what it reads and on scalar constants."""
    constants = [name for name in node.input if index.is_constant(name)]
    return node.op_type in _ELEMENTWISE and all(math.prod(index.initializers[name].dims) == 1 for name in constants)


def _piece(nodes: Sequence[NodeProto], tensor: str, result: str, index: GraphIndex, model: ModelProto) -> Piece:
    order = {node.name: i for i, node in enumerate(index.graph.node)}
    read = dict.fromkeys(name for node in nodes for name in node.input if index.is_constant(name))
    graph = helper.make_graph(
        sorted(nodes, key=lambda node: order[node.name]),
        "activation",
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, ["count"])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, ["count"])],
        [numpy_helper.from_array(index.weight(name).reshape(()), name) for name in read],
    )
    return Piece(helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version))


def _runs(piece: Piece) -> bool:
    """Whether the runtime can compute it; not where its numbers are of another type than float32."""
    try:
        return piece.computed(np.zeros(2, np.float32)).shape == (2,)
    except RuntimeFailure:
        return False

"""What the passes of this package ask about a model: producers, readers, constants, sizes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.inference import declared_shapes, infer_shapes
from autocompress.graph.specs import Size
from autocompress.graph.walk import is_standard

DoubleArray = npt.NDArray[np.float64]

SCALABLE_TYPES = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE})
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


class NotScalable(Exception):
    """A channel cannot be scaled without changing the function; the message is the reason."""


class Network:
    """Read-only lookups over one normalized model.

    Attributes:
        index: producers, readers and weights by name.
        position: node name -> place in the graph.
    """

    def __init__(self, model: ModelProto) -> None:
        self.index = GraphIndex(model)
        self.position = {node.name: i for i, node in enumerate(model.graph.node)}
        self._sizes = dict(declared_shapes(infer_shapes(model)))
        self._finite: dict[str, bool] = {}
        for node in model.graph.node:
            self._refine(node)

    def node(self, name: str) -> NodeProto:
        """The node of a name."""
        return self.index.nodes[name]

    def constant(self, name: str) -> npt.NDArray[np.generic] | None:
        """The values of a weight, None for anything else."""
        return self.index.weight(name) if self.index.is_constant(name) else None

    def integers(self, node: NodeProto, position: int) -> list[int] | None:
        """A constant integer operand as a list, None where it is missing or computed."""
        name = node.input[position] if position < len(node.input) else ""
        values = self.constant(name) if name else None
        return None if values is None else [int(v) for v in values.reshape(-1)]

    def sizes(self, name: str) -> tuple[Size, ...] | None:
        """Sizes of a tensor as far as known; None where not even their number is."""
        return self._sizes.get(name)

    def rank(self, name: str) -> int:
        """Number of axes of a tensor.

        Raises:
            NotScalable: it is not known.
        """
        sizes = self.sizes(name)
        if sizes is None:
            raise NotScalable(f"the shape of {name!r} is not known")
        return len(sizes)

    def has_layer_weight(self, node: NodeProto) -> bool:
        """Whether a node is a layer that multiplies its first input by a constant matrix or kernel."""
        if node.op_type not in LAYERS or not is_standard(node.domain) or len(node.input) < 2:
            return False
        weight = self.index.initializers.get(node.input[1])
        if weight is None or self.index.is_constant(node.input[0]) or 0 in weight.dims:
            return False
        if node.op_type in ("Gemm", "MatMul"):
            return len(weight.dims) == 2 and not attribute(node, "transA", 0)
        return len(weight.dims) > 2

    def is_shared(self, name: str) -> bool:
        """Whether a weight is read at more than one place, or is an output of the model."""
        readers = self.index.consumers.get(name, [])
        return len(readers) != 1 or list(readers[0].input).count(name) != 1 or name in self.index.outputs

    def check_constant(self, name: str) -> None:
        """Refuses a constant that cannot be multiplied safely.

        Raises:
            NotScalable: it is computed, of a narrow type, or holds NaN or Inf.
        """
        weight = self.index.initializers.get(name)
        if weight is None:
            raise NotScalable(f"{name!r} is computed, not a constant")
        if weight.data_type not in SCALABLE_TYPES:
            raise NotScalable(f"{name!r} is not stored as float32")
        if name not in self._finite:
            self._finite[name] = bool(np.isfinite(self.index.weight(name)).all())
        if not self._finite[name]:
            raise NotScalable(f"{name!r} holds NaN or Inf")

    def check_own(self, name: str) -> None:
        """Refuses a matrix that several nodes read: a copy would make the model larger.

        Raises:
            NotScalable: it is shared.
        """
        if self.is_shared(name):
            raise NotScalable(f"the weight {name!r} is shared, and a copy would make the model larger")

    def _refine(self, node: NodeProto) -> None:
        """A layer's weight tells how many input channels there must be."""
        sizes = self._sizes.get(node.input[0]) if node.input else None
        if sizes is None or not self.has_layer_weight(node):
            return
        axis = len(sizes) - 1 if node.op_type in ("Gemm", "MatMul") else 1
        known = list(sizes)
        known[axis] = input_channels(node, self.index.initializers[node.input[1]])
        self._sizes[node.input[0]] = tuple(known)


def input_channels(node: NodeProto, weight: TensorProto) -> int:
    """Input channels of a layer."""
    if node.op_type == "Conv":
        return int(weight.dims[1]) * group_count(node)
    if node.op_type == "Gemm":
        return int(weight.dims[1 if attribute(node, "transB", 0) else 0])
    return int(weight.dims[0])


def group_count(node: NodeProto) -> int:
    """Groups of a convolution, 1 for other layers."""
    return int(str(attribute(node, "group", 1))) if node.op_type in ("Conv", "ConvTranspose") else 1

"""Which layers of a model can be made sparse, and why the others cannot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from autocompress.graph.index import GraphIndex
from autocompress.passes.equalize.layers import canonical
from autocompress.passes.equalize.network import DoubleArray
from autocompress.passes.weighted_layers import sorted_out, weight_obstacle

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16})


@dataclass(frozen=True, eq=False)
class SparseLayer:
    """A layer and its weight.

    Attributes:
        node: the layer.
        weight: name of its weight.
        values: the weight, float64, as stored.
    """

    node: NodeProto
    weight: str
    values: DoubleArray

    @property
    def view(self) -> DoubleArray:
        """A view of ``values`` of shape (groups, output channels, input channels, kernel elements)."""
        return canonical(self.node, self.values)

    @property
    def kernel(self) -> tuple[int, ...]:
        """Sizes of the kernel; () for a matrix."""
        return self.values.shape[2:] if self.node.op_type in ("Conv", "ConvTranspose") else ()


def sparsifiable_layers(model: ModelProto) -> tuple[dict[str, SparseLayer], dict[str, str]]:
    """Finds every layer with a constant weight of its own.

    Args:
        model: normalized.

    Returns:
        Node name -> layer, in graph order; and node name -> why it is left alone, for the other nodes that multiply
        matrices or kernels.
    """
    return sorted_out(model, lambda node, index: weight_obstacle(node, index, _FLOATS), _layer)


def _layer(node: NodeProto, index: GraphIndex) -> SparseLayer:
    values = np.ascontiguousarray(index.weight(node.input[1]), np.float64)
    return SparseLayer(node, node.input[1], values)

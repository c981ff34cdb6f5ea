"""Dynamic quantization of MatMul and Gemm: activations are quantized at run time from their own extremes.

    Y = (Xq - zx) (Wq - zw) * (sx * sw) [+ bias],   Xq, sx, zx = DynamicQuantizeLinear(X)

in standard operators (DynamicQuantizeLinear, MatMulInteger, Cast, Mul, Add) that runtimes fuse into one kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from autocompress.graph.index import GraphIndex, attribute
from autocompress.passes.quantize.weights import QuantizedWeight

if TYPE_CHECKING:
    from autocompress.passes.quantize.emit import GraphWriter


class DynamicWriter:
    """Writes the dynamic form of nodes; units that read one tensor share its quantization."""

    def __init__(self, writer: GraphWriter, index: GraphIndex) -> None:
        self._writer = writer
        self._index = index
        self._done: set[str] = set()

    def write(self, node: onnx.NodeProto, source: str, weight: QuantizedWeight) -> None:
        """Appends the dynamic form of a MatMul or Gemm whose activation input is now called ``source``."""
        quantized, scale, zero_point = (f"{source}_dynamic_{part}" for part in ("quantized", "scale", "zero_point"))
        if source not in self._done:
            self._done.add(source)
            self._writer.node(
                "DynamicQuantizeLinear", [source], [quantized, scale, zero_point], f"{source}_dynamic_quantize"
            )
        values, zero_points = weight.values, weight.zero_points
        if weight.axis == 0 or (weight.axis is None and _transposed(node)):
            values = np.ascontiguousarray(values.T)
        name = node.name
        constant = self._writer.constant
        self._writer.node(
            "MatMulInteger",
            [quantized, constant(f"{name}_weight_t", values), zero_point, constant(f"{name}_weight_zero", zero_points)],
            [f"{name}_integer"],
            f"{name}_matmul_integer",
        )
        self._writer.node("Cast", [f"{name}_integer"], [f"{name}_cast"], f"{name}_cast", to=onnx.TensorProto.FLOAT)
        self._writer.node(
            "Mul", [scale, constant(f"{name}_weight_scale", weight.scales)], [f"{name}_scales"], f"{name}_scales"
        )
        bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 and node.input[2] else None
        product = f"{name}_product" if bias else node.output[0]
        self._writer.node("Mul", [f"{name}_cast", f"{name}_scales"], [product], f"{name}_rescale")
        if bias:
            self._writer.node("Add", [product, bias], [node.output[0]], f"{name}_add_bias")


def _transposed(node: onnx.NodeProto) -> bool:
    return node.op_type == "Gemm" and bool(attribute(node, "transB", 0))

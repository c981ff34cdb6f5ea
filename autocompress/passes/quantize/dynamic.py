"""Dynamic quantization of MatMul and Gemm: activations are quantized at run time from their own extremes.

    Y = (Xq - zx) (Wq - zw) * (sx * sw) [+ bias],   Xq, sx, zx = DynamicQuantizeLinear(X)

in standard operators (DynamicQuantizeLinear, MatMulInteger, Cast, Mul, Add) that runtimes fuse into one kernel.
"""

from __future__ import annotations

import numpy as np
import onnx

from autocompress.graph.index import attribute
from autocompress.passes.quantize.weights import QuantizedWeight
from autocompress.passes.quantize.writer import GraphWriter


class DynamicWriter:
    """Writes the dynamic form of nodes; units that read one tensor share its quantization."""

    def __init__(self, writer: GraphWriter) -> None:
        self._writer = writer
        self._quantized: set[str] = set()

    def write(self, node: onnx.NodeProto, source: str, weight: QuantizedWeight) -> None:
        """Appends the dynamic form of a MatMul or Gemm whose activation input is now called ``source``."""
        write = self._writer
        quantized, scale, zero_point = self._quantize(source)
        owner = node.name
        integer, cast, scales = (write.name(owner, part) for part in ("integer", "cast", "scales"))
        weight_inputs = [
            write.constant(owner, "weight_t", _columns_last(node, weight)),
            write.constant(owner, "weight_zero", weight.zero_points),
        ]
        write.node(
            "MatMulInteger",
            [quantized, weight_inputs[0], zero_point, weight_inputs[1]],
            [integer],
            write.name(owner, "matmul_integer"),
        )
        write.node("Cast", [integer], [cast], cast, to=onnx.TensorProto.FLOAT)
        write.node("Mul", [scale, write.constant(owner, "weight_scale", weight.scales)], [scales], scales)
        bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
        product = write.name(owner, "product") if bias else node.output[0]
        write.node("Mul", [cast, scales], [product], write.name(owner, "rescale"))
        if bias:
            write.node("Add", [product, bias], [node.output[0]], write.name(owner, "add_bias"))

    def _quantize(self, source: str) -> tuple[str, str, str]:
        quantized, scale, zero_point = (
            self._writer.name(source, f"dynamic_{part}") for part in ("quantized", "scale", "zero_point")
        )
        if source not in self._quantized:
            self._quantized.add(source)
            self._writer.node(
                "DynamicQuantizeLinear",
                [source],
                [quantized, scale, zero_point],
                self._writer.name(source, "dynamic_quantize"),
            )
        return quantized, scale, zero_point


def _columns_last(node: onnx.NodeProto, weight: QuantizedWeight) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """The integers with inputs first and output channels last, as MatMulInteger wants them."""
    transposed = node.op_type == "Gemm" and bool(attribute(node, "transB", 0))
    return np.ascontiguousarray(weight.values.T) if transposed else weight.values

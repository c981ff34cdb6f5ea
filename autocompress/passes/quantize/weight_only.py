"""Products of float activations with a matrix of few bits, stored packed.

Two forms, of which each runtime computes one fast:

* ``MatMulNBits`` of ONNX Runtime.  Its weight has shape (columns, blocks, bytes of a block), low half of a byte
  first; its scales (columns, blocks); its zero points, where they are not the middle of the unsigned grid, one for
  each scale, packed like the weights.  A last partial block is filled up with the zero point.
* ``DequantizeLinear`` with a block size before a plain product, which is standard from operator set 21 on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnx

from autocompress.graph.index import attribute
from autocompress.passes.quantize.weights import QuantizedWeight
from autocompress.passes.quantize.writer import GraphWriter

CONTRIBUTED_DOMAIN = "com.microsoft"
_FLOAT_ACTIVATIONS, _INT8_ACTIVATIONS = 1, 4  # values of MatMulNBits' accuracy_level

Bytes = npt.NDArray[np.uint8]


def write_matmul_nbits(
    writer: GraphWriter, node: onnx.NodeProto, source: str, weight: QuantizedWeight, activations: str
) -> None:
    """Appends a MatMul or Gemm as MatMulNBits."""
    assert weight.block_size is not None
    columns_first = weight.values if _columns_first(node) else weight.values.T
    scales, zeros = (p if _columns_first(node) else p.T for p in (weight.scales, weight.zero_points))
    signed = weight.values.dtype.kind == "i"
    middle = 1 << (weight.bits - 1)
    stored = _filled((columns_first.astype(np.int16) + (middle if signed else 0)), zeros, weight.block_size, middle)
    name = node.name
    inputs = [
        source,
        writer.constant(name, "weight_bits", packed(stored, weight.bits)),
        writer.constant(name, "weight_scale", np.ascontiguousarray(scales)),
    ]
    if not signed:
        inputs.append(writer.constant(name, "weight_zero_point", packed(zeros.astype(np.uint8), weight.bits)))
    bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
    product = writer.name(name, "product") if bias else node.output[0]
    writer.domains.add(CONTRIBUTED_DOMAIN)
    writer.node(
        "MatMulNBits",
        inputs,
        [product],
        name,
        domain=CONTRIBUTED_DOMAIN,
        K=columns_first.shape[1],
        N=columns_first.shape[0],
        bits=weight.bits,
        block_size=weight.block_size,
        accuracy_level=_INT8_ACTIVATIONS if activations == "int8" else _FLOAT_ACTIVATIONS,
    )
    if bias:
        writer.node("Add", [product, bias], [node.output[0]], writer.name(name, "add_bias"))


def write_dequantized(
    writer: GraphWriter, node: onnx.NodeProto, source: str, weight: QuantizedWeight, activations: str
) -> None:
    """Appends a MatMul or Gemm that reads its matrix through a DequantizeLinear by blocks."""
    name = node.name
    inputs = [
        writer.constant(name, "weight_quantized", weight.values),
        writer.constant(name, "weight_scale", weight.scales),
    ]
    if weight.values.dtype.kind == "u":
        inputs.append(writer.constant(name, "weight_zero_point", weight.zero_points))
    if weight.bits == 4:
        writer.four_bits.update(dict.fromkeys((inputs[0], *inputs[2:]), "direct"))
    assert weight.axis is not None and weight.block_size is not None
    result = writer.name(name, "weight_dequantized")
    block_size = min(weight.block_size, weight.values.shape[weight.axis])
    dequantize = writer.name(name, "weight_dequantize")
    writer.node("DequantizeLinear", inputs, [result], dequantize, axis=weight.axis, block_size=block_size)
    writer.recent = True
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[0], copy.input[1] = source, result
    writer.nodes.append(copy)


Write = Callable[[GraphWriter, onnx.NodeProto, str, QuantizedWeight, str], None]
WEIGHT_ONLY_FORMS: Mapping[str, Write] = MappingProxyType(
    {"matmul_nbits": write_matmul_nbits, "dequantize": write_dequantized}
)
"""How to write a weight-only product, by ``QuantizationRules.weight_only_form``."""


def packed(values: Bytes, bits: int) -> Bytes:
    """Integers along the last axis, as bytes: themselves at 8 bits, two in each byte (the first one low) at 4."""
    if bits == 8:
        return np.ascontiguousarray(values)
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)
    return np.ascontiguousarray(values[..., 0::2] | (values[..., 1::2] << 4))


def _filled(
    values: npt.NDArray[np.int16], zeros: npt.NDArray[np.generic], block_size: int, middle: int
) -> npt.NDArray[np.uint8]:
    """Unsigned integers of shape (columns, blocks, block size), the last block filled up."""
    columns, rows = values.shape
    blocks = -(-rows // block_size)
    filled = np.full((columns, blocks * block_size), middle, np.uint8)
    filled[:, :rows] = values.astype(np.uint8)
    if zeros.dtype.kind == "u":
        filled[:, rows:] = zeros[:, -1:]
    return filled.reshape(columns, blocks, block_size)


def _columns_first(node: onnx.NodeProto) -> bool:
    return node.op_type == "Gemm" and bool(attribute(node, "transB", 0))

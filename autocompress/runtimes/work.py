"""How much work one executed operator is: multiply-adds and bytes touched, from its signature alone."""

from __future__ import annotations

from math import prod

from autocompress.graph.signature import OpSignature, TensorType

_BITS = {
    "bool": 8, "uint8": 8, "int8": 8, "float16": 16, "bfloat16": 16, "uint16": 16, "int16": 16, "float32": 32,
    "int32": 32, "uint32": 32, "float64": 64, "int64": 64, "uint64": 64, "int4": 4, "uint4": 4, "int2": 2, "uint2": 2,
}  # fmt: skip
_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger"})
_PRODUCTS = frozenset(
    {
        "MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul", "DynamicQuantizeMatMul",
        "Gemm", "FusedGemm", "QGemm", "MatMulInteger16",
    }
)  # fmt: skip
_RECURRENT = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})


def tensor_bytes(tensor: TensorType) -> int:
    """Bytes one operand occupies; unknown element types count as 4 bytes."""
    return (tensor.elements * _BITS.get(tensor.dtype, 32) + 7) // 8


def bytes_touched(signature: OpSignature) -> int:
    """Bytes of all operands and results, each counted once."""
    return sum(tensor_bytes(t) for t in (*signature.inputs, *signature.outputs) if t is not None)


def weight_bytes(signature: OpSignature) -> int:
    """Bytes of the operands that are weights."""
    return sum(tensor_bytes(t) for t in signature.inputs if t is not None and t.constant)


def weight_of(signature: OpSignature) -> TensorType | None:
    """The kernel or matrix of a weighted operator: its largest constant operand of at least two dimensions."""
    candidates = [t for t in signature.inputs if t is not None and t.constant and len(t.shape) >= 2]
    return max(candidates, key=lambda t: t.elements, default=None)


def multiply_adds(signature: OpSignature) -> int:
    """Multiply-adds of convolutions, matrix products and recurrent cells; 0 for everything else.

    Zero weights are counted too: a kernel that skips them does so at its own pace, which a table knows and this does
    not.
    """
    op_type = signature.op_type
    if not signature.outputs or not signature.inputs or signature.inputs[0] is None:
        return 0
    if op_type in _CONVOLUTIONS:
        return _convolution(signature)
    if op_type == "ConvTranspose":
        kernel = weight_of(signature)
        return 0 if kernel is None else signature.inputs[0].elements * prod(kernel.shape[1:])
    if op_type in _PRODUCTS:
        return _product(signature)
    if op_type == "MatMulNBits":
        inner = signature.inputs[0].shape[-1] if signature.inputs[0].shape else 1
        return signature.outputs[0].elements * inner
    if op_type in _RECURRENT:
        steps = prod(signature.inputs[0].shape[:2])
        return steps * sum(t.elements for t in signature.inputs[1:3] if t is not None)
    if op_type in ("Attention", "MultiHeadAttention", "QAttention"):
        return _attention(signature)
    return 0


def convolution_kernel(signature: OpSignature) -> TensorType | None:
    """The kernel operand of a convolution (output channels, input channels of one group, *window); None elsewhere."""
    position = 3 if signature.op_type == "QLinearConv" else 1
    if signature.op_type not in _CONVOLUTIONS or len(signature.inputs) <= position:
        return None
    kernel = signature.inputs[position]
    return kernel if kernel is not None and len(kernel.shape) >= 3 else None


def _convolution(signature: OpSignature) -> int:
    kernel = convolution_kernel(signature)
    return 0 if kernel is None else signature.outputs[0].elements * prod(kernel.shape[1:])


def _product(signature: OpSignature) -> int:
    left = signature.inputs[0]
    if left is None or not left.shape:
        return 0
    attributes = dict(signature.attributes)
    inner = left.shape[-2] if attributes.get("transA", 0) and len(left.shape) > 1 else left.shape[-1]
    return signature.outputs[0].elements * inner


def _attention(signature: OpSignature) -> int:
    query = signature.inputs[0]
    if query is None or len(query.shape) < 3:
        return 0
    batch, length, width = query.shape[:3]
    scores = 2 * batch * length * length * width
    weight = weight_of(signature)
    return scores + (batch * length * weight.elements if weight is not None else 0)

"""How much work one executed operator is: multiply-adds and bytes touched, from its signature alone."""

from __future__ import annotations

from math import prod

from autocompress.graph.signature import OpSignature, TensorType

_BITS = {
    "bool": 8, "uint8": 8, "int8": 8, "float16": 16, "bfloat16": 16, "uint16": 16, "int16": 16, "float32": 32,
    "int32": 32, "uint32": 32, "float64": 64, "int64": 64, "uint64": 64, "int4": 4, "uint4": 4, "int2": 2, "uint2": 2,
}  # fmt: skip
_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger", "Convolution"})
_PRODUCTS = frozenset(
    {
        "MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul", "DynamicQuantizeMatMul",
        "Gemm", "FusedGemm", "QGemm", "MatMulInteger16",
    }
)  # fmt: skip
_RECURRENT = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})
_WEIGHTED_ATTENTION = frozenset({"Attention", "QAttention"})  # of com.microsoft: they project their input themselves
_LOOPS = frozenset({"Eltwise", "Subgraph", "Transpose"})
_LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND"})


def tensor_bytes(tensor: TensorType) -> int:
    """Bytes one operand occupies; unknown element types count as 4 bytes."""
    return (tensor.elements * _BITS.get(tensor.dtype, 32) + 7) // 8


def bytes_touched(signature: OpSignature) -> int:
    """Bytes of all operands and results, each counted once; of a table only as much as is looked up in it."""
    touched = sum(tensor_bytes(t) for t in (*signature.inputs, *signature.outputs) if t is not None)
    if signature.op_type in _LOOKUPS and signature.inputs and signature.inputs[0] is not None:
        table, found = tensor_bytes(signature.inputs[0]), sum(tensor_bytes(t) for t in signature.outputs)
        touched -= max(table - found, 0)
    return touched


def weight_bytes(signature: OpSignature) -> int:
    """Bytes of the operands that are weights."""
    return sum(tensor_bytes(t) for t in signature.inputs if t is not None and t.constant)


def weight_of(signature: OpSignature) -> TensorType | None:
    """The kernel or matrix of a weighted operator: its largest constant operand of at least two dimensions."""
    candidates = [t for t in signature.inputs if t is not None and t.constant and len(t.shape) >= 2]
    return max(candidates, key=lambda t: t.elements, default=None)


def multiply_adds(signature: OpSignature) -> int:
    """Multiply-adds of convolutions, matrix products, attention and recurrent cells; 0 for everything else.

    Zero weights are counted too: a kernel that skips them does so at its own pace, which a table knows and this does
    not.
    """
    op_type = signature.op_type
    if not signature.outputs or not signature.inputs or signature.inputs[0] is None:
        return 0
    if "multiply_adds" in dict(signature.attributes):
        return products_within(signature)
    if op_type in _CONVOLUTIONS:
        return _convolution(signature)
    if op_type in ("ConvTranspose", "Deconvolution"):
        kernel = weight_of(signature)
        return 0 if kernel is None else signature.inputs[0].elements * prod(kernel.shape[1:])
    if op_type == "FullyConnected" or (signature.domain == "openvino" and op_type == "MatMul"):
        return _openvino_product(signature)
    if op_type in _PRODUCTS:
        return _product(signature)
    if op_type == "MatMulNBits":
        inner = signature.inputs[0].shape[-1] if signature.inputs[0].shape else 1
        return signature.outputs[0].elements * inner
    if op_type == "RNNSeq":
        weights = [t for t in signature.inputs if t is not None and t.constant and len(t.shape) == 3][-2:]
        return prod(signature.inputs[0].shape[:2]) * sum(t.elements for t in weights)
    if op_type in _RECURRENT:
        steps = prod(signature.inputs[0].shape[:2])
        return steps * sum(t.elements for t in signature.inputs[1:3] if t is not None)
    if op_type in ("Attention", "MultiHeadAttention", "QAttention", "GroupQueryAttention"):
        return _attention(signature)
    if op_type == "Einsum":
        return _einsum(signature)
    return 0


def products_within(signature: OpSignature) -> int:
    """Multiply-adds of the matrix products that an operator of another kind computes, as fused attention does.

    A loop without a softmax, and without a matrix among its operands, only bears the name of a product that runs as an
    operator of its own.
    """
    attributes = dict(signature.attributes)
    within, fused = attributes.get("multiply_adds"), attributes.get("fused")
    if not isinstance(within, int):
        return 0
    matrix = weight_of(signature)
    real = (
        signature.op_type not in _LOOPS
        or (isinstance(fused, tuple) and "Softmax" in fused)
        or (matrix is not None and min(matrix.shape[-2:]) > 1)
    )
    return within if real else 0


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


def _openvino_product(signature: OpSignature) -> int:
    left, result = signature.inputs[0], signature.outputs[0]
    if left is None or len(left.shape) < 2 or len(result.shape) < 2:
        return 0
    # Either operand may be read transposed, which its shape does not tell; the result's rows do.
    return result.elements * (left.shape[-2] * left.shape[-1] // max(result.shape[-2], 1))


def _attention(signature: OpSignature) -> int:
    """Two products, queries with keys and scores with values, and the projection where the operator has it."""
    query = signature.inputs[0]
    if query is None or len(query.shape) < 3:
        return 0
    keys = signature.inputs[1] if len(signature.inputs) > 1 else None
    batch, length, width = _sequence(query.shape)
    if signature.domain and signature.op_type in _WEIGHTED_ATTENTION:
        projected = batch * length * keys.elements if keys is not None else 0
        width = signature.outputs[0].shape[-1]
        return projected + 2 * batch * length * length * width
    seen = length if keys is None or len(keys.shape) < 3 else _sequence(keys.shape)[1]
    return 2 * batch * length * seen * width


def _sequence(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Batch, length and width of (batch, length, width) or (batch, heads, length, width of a head)."""
    if len(shape) == 4:
        return shape[0], shape[2], shape[1] * shape[3]
    return shape[0], shape[1], shape[2]


def _einsum(signature: OpSignature) -> int:
    """The product of the sizes of all indices of two operands, as if nothing were summed beforehand."""
    equation = str(dict(signature.attributes).get("equation", "")).replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    operands = [t for t in signature.inputs if t is not None]
    if len(terms) != 2 or len(operands) != 2 or "." in equation:
        return 0
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        sizes.update(zip(term, operand.shape, strict=True))
    return prod(sizes.values())

"""Which predictor an operator belongs to: operators whose time follows one law share a family."""

from __future__ import annotations

from autocompress.graph.signature import OpSignature
from autocompress.latency.roofline import is_integer
from autocompress.runtimes.work import convolution_kernel, weight_of

_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger"})
_PRODUCTS = frozenset(
    {"MatMul", "FusedMatMul", "Gemm", "FusedGemm", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat"}
)
_BY_TYPE = {
    "DynamicQuantizeMatMul": "dynamic_matmul",
    "MatMulNBits": "nbits_matmul",
    "ConvTranspose": "conv_transpose",
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), "recurrent"),
    **dict.fromkeys(("Attention", "MultiHeadAttention", "QAttention"), "attention"),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"), "conversion"),
    **dict.fromkeys(
        ("Transpose", "ReorderInput", "ReorderOutput", "Reorder", "DepthToSpace", "SpaceToDepth"), "layout"
    ),
    **dict.fromkeys(
        ("Softmax", "LogSoftmax", "QLinearSoftmax", "LayerNormalization", "SkipLayerNormalization",
         "InstanceNormalization", "BatchNormalization", "SimplifiedLayerNormalization", "GroupNorm", "LRN",
         "EmbedLayerNormalization", "LpNormalization", "RMSNormalization", "GroupNormalization"),
        "normalization",
    ),
    **dict.fromkeys(
        ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "QLinearAveragePool",
         "QLinearGlobalAveragePool", "NhwcMaxPool", "LpPool"),
        "pooling",
    ),
    **dict.fromkeys(
        ("Concat", "QLinearConcat", "Slice", "Split", "Gather", "Pad", "Expand", "Tile", "Resize", "Upsample",
         "Where", "QLinearWhere", "GatherElements", "ScatterND", "GatherND", "ScatterElements"),
        "movement",
    ),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Size"), "view"),
}  # fmt: skip


def family_of(signature: OpSignature) -> str:
    """The family of an operator, such as "conv_pointwise_int8" or "elementwise"."""
    op_type = signature.op_type
    arithmetic = "int8" if is_integer(signature) else "float"
    if op_type in _CONVOLUTIONS:
        return f"conv_{_convolution_kind(signature)}_{arithmetic}"
    if op_type in _PRODUCTS:
        return f"matmul_{arithmetic}"
    if op_type in _BY_TYPE:
        return _BY_TYPE[op_type]
    if op_type.startswith("Reduce") or op_type in ("ArgMax", "ArgMin", "TopK", "CumSum", "QLinearReduceMean"):
        return "reduction"
    if len(signature.outputs) == 1 and _is_elementwise(signature):
        return f"elementwise_{arithmetic}"
    return "other"


def _convolution_kind(signature: OpSignature) -> str:
    group = dict(signature.attributes).get("group", 1)
    kernel = convolution_kernel(signature)
    if kernel is None:
        return "dense"
    if group != 1:
        return "depthwise" if kernel.shape[1] == 1 else "grouped"
    return "pointwise" if max(kernel.shape[2:], default=1) == 1 else "dense"


def _is_elementwise(signature: OpSignature) -> bool:
    """Whether the result has the broadcast shape of the operands."""
    shapes = [t.shape for t in signature.inputs if t is not None]
    result = signature.outputs[0].shape
    return bool(shapes) and any(shape == result for shape in shapes)


def dispatch_class(signature: OpSignature) -> str:
    """What a runtime chooses a kernel by, apart from sizes: operator, domain, dtypes, layout, constancy of weights."""
    attributes = dict(signature.attributes)
    operands = [t for t in signature.inputs if t is not None and (t.elements > 1 or not t.constant)]
    weight = weight_of(signature)
    parts = [
        signature.domain.rpartition(".")[2],
        signature.op_type,
        next((t.dtype for t in operands if not t.constant), ""),
        weight.dtype if weight is not None else "",
        "last" if attributes.get("channels_last") else "",
        "strided" if _is_strided(attributes.get("strides")) else "",
        str(attributes.get("mode", "")),
        "".join(str(axis) for axis in _integers(attributes.get("perm"))),
        "variable" if weight is None and convolution_kernel(signature) is not None else "",
    ]
    return "|".join(parts)


def _is_strided(strides: object) -> bool:
    return any(step > 1 for step in _integers(strides))


def _integers(value: object) -> tuple[int, ...]:
    return tuple(int(v) for v in value) if isinstance(value, tuple) else ()

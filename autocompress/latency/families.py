"""Which predictor an operator belongs to: operators whose time follows one law share a family."""

from __future__ import annotations

from collections.abc import Mapping

from autocompress.graph.signature import OpSignature
from autocompress.latency.placement import fused_with, is_interleaved
from autocompress.latency.roofline import is_integer
from autocompress.runtimes.work import convolution_kernel, products_within, weight_of

_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger", "Convolution"})
_PRODUCTS = frozenset(
    {
        "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat",
        "FullyConnected",
    }
)  # fmt: skip
_BY_TYPE = {
    "DynamicQuantizeMatMul": "dynamic_matmul",
    "MatMulNBits": "nbits_matmul",
    **dict.fromkeys(("ConvTranspose", "Deconvolution"), "conv_transpose"),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM", "RNNCell", "RNNSeq"), "recurrent"),
    **dict.fromkeys(("Attention", "MultiHeadAttention", "QAttention", "ScaledDotProductAttention"), "attention"),
    **dict.fromkeys(
        ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "Convert", "FakeQuantize"), "conversion"
    ),
    **dict.fromkeys(
        ("Transpose", "ReorderInput", "ReorderOutput", "Reorder", "DepthToSpace", "SpaceToDepth"), "layout"
    ),
    **dict.fromkeys(
        ("Softmax", "LogSoftmax", "QLinearSoftmax", "LayerNormalization", "SkipLayerNormalization",
         "InstanceNormalization", "BatchNormalization", "SimplifiedLayerNormalization", "GroupNorm", "LRN",
         "EmbedLayerNormalization", "LpNormalization", "RMSNormalization", "GroupNormalization", "MVN", "RMS",
         "NormalizeL2"),
        "normalization",
    ),
    **dict.fromkeys(
        ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "QLinearAveragePool",
         "QLinearGlobalAveragePool", "NhwcMaxPool", "LpPool", "Pooling"),
        "pooling",
    ),
    **dict.fromkeys(
        ("Concat", "QLinearConcat", "Slice", "Split", "Gather", "Pad", "Expand", "Tile", "Resize", "Upsample",
         "Where", "QLinearWhere", "GatherElements", "ScatterND", "GatherND", "ScatterElements", "Broadcast",
         "Concatenation", "Interpolate", "StridedSlice", "ScatterUpdate", "ScatterElementsUpdate", "ScatterNDUpdate"),
        "movement",
    ),
    **dict.fromkeys(("If", "Loop", "Scan", "TensorIterator"), "other"),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Size"), "view"),
}  # fmt: skip
_STRIDED = 5  # position of strides among the parts of a dispatch class
_ELEMENTWISE = frozenset({"Eltwise", "Math", "Subgraph"})


def family_of(signature: OpSignature) -> str:
    """The family of an operator, such as "conv_pointwise_int8" or "elementwise"."""
    op_type = signature.op_type
    arithmetic = "int8" if is_integer(signature) else "float"
    if op_type in _CONVOLUTIONS:
        kind = _convolution_kind(signature)
        return f"conv_{'dense' if kind == 'grouped' else kind}_{arithmetic}"
    if op_type in _PRODUCTS:
        weight = weight_of(signature)
        if weight is not None and weight.dtype in ("uint4", "int4"):
            return "nbits_matmul"
        return f"matmul_{arithmetic}"
    if op_type in _BY_TYPE:
        return _BY_TYPE[op_type]
    if op_type.startswith("Reduce") or op_type in ("ArgMax", "ArgMin", "TopK", "CumSum", "QLinearReduceMean"):
        return "reduction"
    if products_within(signature):
        return "attention"  # products and a softmax in one loop
    if op_type in _ELEMENTWISE or (len(signature.outputs) == 1 and _is_elementwise(signature)):
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
        # A runtime's own name of its kernel; how many rows share a scale, and whether float is computed with.
        *(
            str(attributes[name])
            for name in ("operator", "kernel", "block_size", "accuracy_level")
            if name in attributes
        ),
        *(_layouts(attributes) if signature.op_type == "Reorder" else ()),
    ]
    return "|".join(parts)


def _layouts(attributes: Mapping[str, object]) -> tuple[str, ...]:
    """Before and after, as the runtime names them: a reorder to rows is another kernel than one to blocks."""
    layouts = attributes.get("layouts")
    return tuple(str(layout) for layout in layouts) if isinstance(layouts, tuple) else ()


def kernel_path(signature: OpSignature) -> tuple[str, ...]:
    """Levels from the general to the special: "" for the family, layout, kernel, dispatch class, what is fused."""
    layout = "blocked" if "nchwc" in signature.domain else "last" if is_interleaved(signature) else "plain"
    parts = dispatch_class(signature).replace("/", "_").split("|")
    if signature.op_type in _CONVOLUTIONS and _convolution_kind(signature) == "grouped":
        parts[0] = f"grouped {parts[0]}"
    kernel = "|".join(part for i, part in enumerate(parts) if i != _STRIDED)
    dispatched = f"/{layout}/{kernel}/{parts[_STRIDED]}"
    levels = ("", f"/{layout}", f"/{layout}/{kernel}", dispatched)
    fused = fused_with(signature) if "fused" in dict(signature.attributes) else ""
    return (*levels, f"{dispatched}/{fused}") if fused else levels


def _is_strided(strides: object) -> bool:
    return any(step > 1 for step in _integers(strides))


def _integers(value: object) -> tuple[int, ...]:
    return tuple(int(v) for v in value) if isinstance(value, tuple) else ()

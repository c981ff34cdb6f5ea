"""What a model already is, and whether it has anything to compress."""

from __future__ import annotations

from onnx import ModelProto, TensorProto

from autocompress.graph.walk import all_graphs, all_nodes, is_standard

_STANDARD = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "QLinearConv",
        "QLinearMatMul",
        "MatMulInteger",
        "ConvInteger",
    }
)
_RUNTIME_PREFIXES = ("QLinear", "QGemm", "QAttention", "QEmbed", "QMoE", "QOrdered", "DynamicQuantize")
_RUNTIME = frozenset(
    {"MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "MatMulInteger16", "MatMulIntegerToFloat", "GatherBlockQuantized"}
    | {"QuantizeLinear", "DequantizeLinear"}
)
_WEIGHTED = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "LSTM",
        "GRU",
        "RNN",
        "Einsum",
        "DeformConv",
        "FusedConv",
        "FusedMatMul",
    }
    | {"FusedGemm", "Attention", "EmbedLayerNormalization", "Gather"}
)
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})


def is_quantized(model: ModelProto) -> bool:
    """Whether any operator works on, or converts to or from, quantized numbers."""
    return any(
        node.op_type in _STANDARD
        if is_standard(node.domain)
        else node.op_type in _RUNTIME or node.op_type.startswith(_RUNTIME_PREFIXES)
        for node in all_nodes(model)
    )


def has_weights(model: ModelProto) -> bool:
    """Whether any operator with a weight matrix has it as a floating-point constant of two or more dimensions."""
    matrices = {
        weight.name
        for graph in all_graphs(model.graph)
        for weight in graph.initializer
        if weight.data_type in _FLOATS and len(weight.dims) >= 2
    }
    for node in all_nodes(model):
        if node.op_type == "Constant":
            matrices.update(
                node.output[0]
                for attribute in node.attribute
                if attribute.name == "value" and attribute.t.data_type in _FLOATS and len(attribute.t.dims) >= 2
            )
    return any(node.op_type in _WEIGHTED and any(name in matrices for name in node.input) for node in all_nodes(model))

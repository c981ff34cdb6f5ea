"""Which rule belongs to which operator of the ONNX standard; an operator without one blocks what it touches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from onnx import NodeProto

from autocompress.graph.channels.rules import elementwise, layers, moving, normalizing, recurrent, reducing, sizes
from autocompress.graph.channels.scope import Scope

Rule = Callable[[NodeProto, Scope], None]
"""Ties and fixes labels of a node's operands and sets the axes of its results; raises Opaque with the reason."""

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys(elementwise.UNARY, elementwise.unary),
        **dict.fromkeys(elementwise.NARY, elementwise.nary),
        **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), elementwise.quantization),
        "Conv": layers.convolution,
        "ConvTranspose": layers.transposed_convolution,
        "Gemm": layers.gemm,
        "MatMul": layers.matrix_product,
        "Einsum": layers.einsum,
        "Gather": moving.gather,
        "Transpose": moving.transpose,
        **dict.fromkeys(("Reshape", "Flatten"), moving.reshape),
        "Squeeze": moving.squeeze,
        "Unsqueeze": moving.unsqueeze,
        "Concat": moving.concat,
        "Split": moving.split,
        "Slice": moving.cut,
        "Pad": moving.pad,
        "Tile": moving.tile,
        "Expand": moving.expand,
        "DepthToSpace": moving.depth_to_space,
        "SpaceToDepth": moving.space_to_depth,
        "Resize": moving.resize,
        **dict.fromkeys(reducing.POOLS, reducing.pooling),
        **dict.fromkeys(reducing.REDUCTIONS, reducing.reduction),
        **dict.fromkeys(("ArgMax", "ArgMin"), reducing.place_of_extreme),
        **dict.fromkeys(reducing.ALONG_AN_AXIS, reducing.along_an_axis),
        "CumSum": reducing.running_sum,
        "Trilu": reducing.triangle,
        "GridSample": reducing.sampling,
        "BatchNormalization": normalizing.batch_normalization,
        "InstanceNormalization": normalizing.instance_normalization,
        "GroupNormalization": normalizing.group_normalization,
        **dict.fromkeys(("LayerNormalization", "RMSNormalization"), normalizing.trailing_normalization),
        "MeanVarianceNormalization": normalizing.moment_normalization,
        "LRN": normalizing.local_response,
        **dict.fromkeys(recurrent.GATES, recurrent.recurrence),
        "Shape": sizes.shape,
        "Size": sizes.size,
        "ConstantOfShape": moving.constant_of_shape,
    }
)

"""Every layer with a stored weight: its channels, parameters, multiply-adds, zeros and numbers.

Everything is counted on the ONNX graph and its stored weights.  What a runtime makes of them (fused operators, blocks
filled up with zeros) has no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from autocompress.graph.index import GraphIndex
from autocompress.graph.macs import multiply_accumulates
from autocompress.graph.tensors import dtype_name, element_count
from autocompress.passes.sparsify.report import LayerSparsity, report
from autocompress.passes.sparsify.stored_weights import PER_BLOCK
from autocompress.report.structure.shapes import known_shapes

_CONVOLUTIONS = ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv")
_BIAS = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "QLinearConv": 8, "MatMulNBits": 5}
# What a layer's name ends with once its product is one of integers that are quantized at run time.
_DYNAMIC_SUFFIX = "_matmul_integer"
_INTEGER_OPS = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul")

FLOAT, DYNAMIC = "float32", "dynamic int8"


@dataclass(frozen=True)
class LayerFacts:
    """One layer; shares of zeros are in [0, 1].

    Attributes:
        name: of its node.
        op_type: of its node.
        weight: name of its stored weight.
        result: name of the tensor that it computes.
        inputs: channels that it reads.
        outputs: channels that it computes.
        kernel: sizes of its kernel; () for a matrix.
        parameters: numbers in its weight and its bias.
        macs: multiply-adds of one run; None where a shape is unknown.
        elements: numbers in its weight.
        nonzero: those that are not zero (NNZ).
        sparsity: share of zero elements.
        zero_rows: share of output channels that are all zero.
        zero_channels: share of input channels that are all zero.
        zero_kernels: share of k x k kernels that are all zero.
        zero_blocks: share of all-zero blocks of 4 x 4 channels.
        patterns: "2:4", "1:4" where the zeros satisfy them.
        weight_dtype: of the stored weight.
        granularity: of the weight's scales; "" for floats.
        activation_dtype: in which it computes with its input; "dynamic int8" where that is quantized at run time.
    """

    name: str
    op_type: str
    weight: str
    result: str
    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    parameters: int
    macs: int | None
    elements: int
    nonzero: int
    sparsity: float
    zero_rows: float
    zero_channels: float
    zero_kernels: float
    zero_blocks: float
    patterns: tuple[str, ...]
    weight_dtype: str
    granularity: str
    activation_dtype: str

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel is computed from one channel."""
        return bool(self.kernel) and self.outputs > 1 and self.elements == self.outputs * element_count(self.kernel)


def layer_facts(model: ModelProto) -> tuple[LayerFacts, ...]:
    """All layers with a stored weight, in graph order.

    Args:
        model: normalized, float or quantized; multiply-adds are known where its input sizes are numbers.
    """
    index, shapes = GraphIndex(model), known_shapes(model)
    return tuple(_facts(row, index, shapes) for row in report(model))


def _facts(row: LayerSparsity, index: GraphIndex, shapes: Mapping[str, tuple[int, ...]]) -> LayerFacts:
    node = index.nodes[row.name]
    return LayerFacts(
        name=row.name.removesuffix(_DYNAMIC_SUFFIX),
        op_type=row.op_type,
        weight=row.weight,
        result=node.output[0],
        inputs=row.inputs,
        outputs=row.outputs,
        kernel=row.shape[2:] if row.op_type in _CONVOLUTIONS else (),
        parameters=row.elements + _bias_elements(node, index),
        macs=_macs(node, _stored_shapes(row, node, shapes)),
        elements=row.elements,
        nonzero=row.nonzero,
        sparsity=row.element,
        zero_rows=row.row,
        zero_channels=row.channel,
        zero_kernels=row.kernel,
        zero_blocks=row.block,
        patterns=row.patterns,
        weight_dtype=row.dtype,
        granularity=row.granularity,
        activation_dtype=FLOAT if row.granularity == PER_BLOCK else _activation_dtype(node, index),
    )


def _bias_elements(node: NodeProto, index: GraphIndex) -> int:
    position = _BIAS.get(node.op_type, len(node.input))
    if position >= len(node.input):
        return 0
    producer = index.producers.get(node.input[position])
    converted = producer is not None and producer.op_type in ("DequantizeLinear", "Cast")
    name = producer.input[0] if producer is not None and converted else node.input[position]
    bias = index.initializers.get(name)
    return 0 if bias is None else element_count(bias.dims)


def _stored_shapes(
    row: LayerSparsity, node: NodeProto, shapes: Mapping[str, tuple[int, ...]]
) -> Mapping[str, tuple[int, ...]]:
    """Shapes with that of a convolution's weight as it lies in the file: zero channels may be added behind it."""
    return {**shapes, node.input[1]: row.shape} if row.op_type == "Conv" else shapes


def _macs(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    try:
        return multiply_accumulates(node, shapes)
    except KeyError:  # the shape of an operand is not known
        return None


def _activation_dtype(node: NodeProto, index: GraphIndex) -> str:
    producer = index.producers.get(node.input[0])
    if producer is not None and producer.op_type == "DynamicQuantizeLinear":
        return DYNAMIC
    if node.op_type in _INTEGER_OPS:
        return _grid_dtype(node, index)
    if producer is None or producer.op_type != "DequantizeLinear":
        return FLOAT
    return _grid_dtype(producer, index)


def _grid_dtype(node: NodeProto, index: GraphIndex) -> str:
    """Type of the zero point, the third operand of all that read integers."""
    name = node.input[2] if len(node.input) > 2 else ""
    grid = index.initializers.get(name)
    return "uint8" if grid is None else dtype_name(grid.data_type)

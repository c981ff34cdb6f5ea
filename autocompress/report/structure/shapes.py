"""Sizes of tensors, also behind products that the ONNX standard does not know."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto, NodeProto, TensorProto, helper

from autocompress.graph.index import attribute
from autocompress.graph.inference import infer_shapes, static_shapes
from autocompress.graph.model import copy_model

_NBITS = "MatMulNBits"


def known_shapes(model: ModelProto) -> Mapping[str, tuple[int, ...]]:
    """Tensor name -> shape, where every size is a number.

    Shape inference sees nothing behind a MatMulNBits, so it is shown a MatMul by a matrix of the same sizes instead.

    Args:
        model: normalized.
    """
    if any(node.op_type == _NBITS for node in model.graph.node):
        model = copy_model(model)
        for node in model.graph.node:
            if node.op_type == _NBITS:
                _show_as_product(model, node)
    return static_shapes(infer_shapes(model))


def _show_as_product(model: ModelProto, node: NodeProto) -> None:
    sizes = [int(str(attribute(node, name, 0))) for name in ("K", "N")]
    matrix = f"{node.name}_matrix"
    model.graph.input.append(helper.make_tensor_value_info(matrix, TensorProto.FLOAT, sizes))
    product = helper.make_node("MatMul", [node.input[0], matrix], list(node.output), node.name)
    node.CopyFrom(product)

"""Whether the layers of a model still fit each other once its maps are smaller."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx
from onnx import ModelProto, NodeProto

from autocompress.graph.batch import batch_axes
from autocompress.graph.index import attribute
from autocompress.graph.inference import infer_shapes, static_shapes
from autocompress.graph.shapes import bind_batch
from autocompress.graph.skeleton import skeleton
from autocompress.graph.specs import input_specs
from autocompress.graph.walk import node_label

Shapes = Mapping[str, tuple[int, ...]]


def misfit(model: ModelProto) -> str | None:
    """One clause that names the first layer whose operands do not fit, or None.

    Inference believes the target of a Reshape and never looks at the inner size of a Gemm, so both are checked here.

    Args:
        model: of which only the size of the image was changed.
    """
    one = bind_batch(model, 1) if any(axis is not None for axis in batch_axes(input_specs(model)).values()) else model
    try:
        onnx.shape_inference.infer_shapes(skeleton(one)[0], strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        return f"a layer needs the full size of the image ({' '.join(str(error).split())})"
    shapes = static_shapes(infer_shapes(one))
    for node in one.graph.node:
        if not _fits(node, shapes):
            return f"the {node.op_type} {node_label(node)} needs the full size of the image"
    return None


def _fits(node: NodeProto, shapes: Shapes) -> bool:
    if node.op_type == "Reshape":
        before, after = shapes.get(node.input[0]), shapes.get(node.output[0])
        return before is None or after is None or math.prod(before) == math.prod(after)
    if node.op_type not in ("Gemm", "MatMul"):
        return True
    left, right = shapes.get(node.input[0]), shapes.get(node.input[1])
    if left is None or right is None or len(left) < 2 or len(right) < 2:
        return True
    inner = left[-2] if attribute(node, "transA", 0) else left[-1]
    return inner == (right[-1] if attribute(node, "transB", 0) else right[-2])

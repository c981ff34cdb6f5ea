"""Poolings over a whole map, written as what they are: a kernel of fixed size would not fit a smaller map."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto, NodeProto

from autocompress.graph.index import attribute
from autocompress.graph.inference import declared_shapes, infer_shapes
from autocompress.graph.specs import Size

_GLOBAL = {"AveragePool": "GlobalAveragePool", "MaxPool": "GlobalMaxPool"}


def make_global(model: ModelProto) -> None:
    """Turns poolings whose kernel covers their whole input into global ones, in place."""
    shapes = declared_shapes(infer_shapes(model))
    for node in model.graph.node:
        if node.op_type in _GLOBAL and len(node.output) == 1 and _covers_all(node, shapes):
            node.op_type = _GLOBAL[node.op_type]
            del node.attribute[:]


def _covers_all(node: NodeProto, shapes: Mapping[str, tuple[Size, ...]]) -> bool:
    if any(_numbers(node, "pads")) or attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return False
    if any(step != 1 for step in _numbers(node, "dilations")):
        return False
    return bool(shapes.get(node.input[0])) and _numbers(node, "kernel_shape") == [*shapes[node.input[0]][2:]]


def _numbers(node: NodeProto, name: str) -> list[int]:
    return next((list(found.ints) for found in node.attribute if found.name == name), [])

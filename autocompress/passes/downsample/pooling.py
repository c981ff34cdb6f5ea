"""Poolings over a whole map, written as what they are: a kernel of fixed size would not fit a smaller map."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto, NodeProto

from autocompress.graph.conv_windows import window_numbers
from autocompress.graph.index import attribute
from autocompress.graph.specs import Size

_GLOBAL = {"AveragePool": "GlobalAveragePool", "MaxPool": "GlobalMaxPool"}


def make_global(model: ModelProto, shapes: Mapping[str, tuple[Size, ...]]) -> None:
    """Turns poolings whose kernel covers their whole input into global ones, in place.

    Args:
        model: changed in place.
        shapes: tensor name -> sizes, as far as known.
    """
    for node in model.graph.node:
        if node.op_type in _GLOBAL and len(node.output) == 1 and _covers_all(node, shapes.get(node.input[0], ())):
            node.op_type = _GLOBAL[node.op_type]
            del node.attribute[:]


def _covers_all(node: NodeProto, sizes: tuple[Size, ...]) -> bool:
    if any(window_numbers(node, "pads", 0, 0)) or attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return False
    if any(step != 1 for step in window_numbers(node, "dilations", 1, 0)):
        return False
    return bool(sizes) and window_numbers(node, "kernel_shape", 0, 0) == [*sizes[2:]]

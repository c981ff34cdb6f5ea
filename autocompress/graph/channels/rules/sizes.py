"""Operators of shape arithmetic: their numbers follow the running model, or are adjusted where they are used."""

from __future__ import annotations

from onnx import NodeProto

from autocompress.graph.channels.scope import Scope
from autocompress.graph.walk import node_label


def shape(node: NodeProto, scope: Scope) -> None:
    """Shape: its readers are asked (see ``walk``)."""


def size(node: NodeProto, scope: Scope) -> None:
    """Size: counts all elements."""
    for axis in scope.operand(node, 0):
        scope.fix(axis, f"{node_label(node)} counts its elements")

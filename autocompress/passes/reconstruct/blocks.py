"""Finds the blocks of a model: stretches of graph that one tensor leads into and one leads out of.

A cut is a place where a single tensor carries all that the layers before have computed; tensors that no layer has
touched, such as attention masks, may pass by.  Between residual additions there are none, so a residual branch stays in
one block; short stretches are joined.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from onnx import ModelProto

from autocompress.graph.index import GraphIndex
from autocompress.graph.walk import names_read

_LAYERS_PER_BLOCK = 3


@dataclass(frozen=True)
class Block:
    """A stretch of a graph.

    Attributes:
        source: node whose first output leads into it; "" at the start of the model.
        result: node whose first output leads out of it.
        layers: names of the layers in it, in graph order.
    """

    source: str
    result: str
    layers: tuple[str, ...]


def find_blocks(model: ModelProto, layers: Collection[str]) -> list[Block]:
    """The blocks of a model, in graph order; layers behind its last cut are in none.

    Args:
        model: its nodes in order.
        layers: names of the nodes that count as layers.
    """
    blocks: list[Block] = []
    source, inside = "", list[str]()
    cuts = _cuts(model, layers)
    for node in model.graph.node:
        if node.name in layers:
            inside.append(node.name)
        if node.name in cuts and len(inside) >= _LAYERS_PER_BLOCK:
            blocks.append(Block(source, node.name, tuple(inside)))
            source, inside = node.name, []
    last = model.graph.node[-1].name
    if inside and last in cuts:
        blocks.append(Block(source, last, tuple(inside)))
    return blocks


def _cuts(model: ModelProto, layers: Collection[str]) -> set[str]:
    """Nodes behind which the first output alone carries what layers have computed."""
    index = GraphIndex(model)
    carried: set[str] = set()
    last_read: dict[str, int] = {}
    for position, node in enumerate(model.graph.node):
        read = names_read(node)
        last_read.update(dict.fromkeys(read, position))
        if node.name in layers or not carried.isdisjoint(read):
            carried.update(name for name in node.output if name)
    last_read.update(dict.fromkeys(index.outputs, len(model.graph.node)))
    cuts: set[str] = set()
    live: set[str] = set()
    for position, node in enumerate(model.graph.node):
        live.update(name for name in node.output if name in carried)
        live = {name for name in live if last_read.get(name, -1) > position}
        if live == {node.output[0]}:
            cuts.add(node.name)
    return cuts

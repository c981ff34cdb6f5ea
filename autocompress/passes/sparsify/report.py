"""What of each layer's weight is zero: elements, and whole channels, kernels and blocks.

Numbers are taken from the weights as stored (see ``stored_weights``), never from what a runtime packed: kernels that
work on blocks of channels fill them up with zeros that are nobody's sparsity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from autocompress.graph.index import GraphIndex
from autocompress.passes.sparsify.masks import Mask
from autocompress.passes.sparsify.stored_weights import StoredWeight, stored_weight

_PATTERNS = ((2, 4), (1, 4))
_BLOCK = 4


@dataclass(frozen=True)
class LayerSparsity:
    """Zeros of one layer's weight; every share is of the parts it names.

    Attributes:
        name: of the node.
        op_type: of the node.
        weight: name of the weight.
        shape: in which it is stored.
        elements: how many numbers it holds.
        nonzero: how many are not zero (NNZ).
        element: share of zero elements.
        row: share of output channels that are all zero.
        channel: share of input channels that are all zero.
        kernel: share of kernels, one per pair of output and input channel, that are all zero.
        block: share of blocks of 4 output by 4 input channels, at one kernel element, that are all zero.
        patterns: which of "2:4" and "1:4" its zeros satisfy along input channels.
        dtype: in which the weight is stored.
        granularity: of its scales, "per_tensor", "per_channel" or "per_block"; "" for floats.
        outputs: channels that the layer computes.
        inputs: channels that it reads.
    """

    name: str
    op_type: str
    weight: str
    shape: tuple[int, ...]
    elements: int
    nonzero: int
    element: float
    row: float
    channel: float
    kernel: float
    block: float
    patterns: tuple[str, ...]
    dtype: str = "float32"
    granularity: str = ""
    outputs: int = 0
    inputs: int = 0


def report(model: ModelProto) -> tuple[LayerSparsity, ...]:
    """Zeros of every layer with a stored weight, in graph order.

    Args:
        model: float or quantized, in whatever form; shared weights are listed with each of their layers.
    """
    index = GraphIndex(model)
    found = ((node, stored_weight(node, index)) for node in model.graph.node)
    return tuple(_row(node, weight) for node, weight in found if weight is not None)


def total_sparsity(rows: tuple[LayerSparsity, ...]) -> float:
    """Share of zeros over all layers; a shared weight counts once."""
    weights = {row.weight: row for row in rows}.values()
    elements = sum(row.elements for row in weights)
    return 1.0 - sum(row.nonzero for row in weights) / elements if elements else 0.0


def _row(node: NodeProto, weight: StoredWeight) -> LayerSparsity:
    view = weight.nonzero
    groups, outputs, inputs, _ = view.shape
    kernels: Mask = np.logical_or.reduce(view, axis=3)
    count = int(np.count_nonzero(view))
    return LayerSparsity(
        name=node.name,
        op_type=node.op_type,
        weight=weight.name,
        shape=weight.shape,
        elements=view.size,
        nonzero=count,
        element=1.0 - count / view.size,
        row=_empty(np.logical_or.reduce(kernels, axis=2)),
        channel=_empty(np.logical_or.reduce(kernels, axis=1)),
        kernel=_empty(kernels),
        block=_empty(_blocks(view)),
        patterns=tuple(f"{kept}:{of}" for kept, of in _PATTERNS if _satisfies(view, kept, of)),
        dtype=weight.dtype,
        granularity=weight.granularity,
        outputs=groups * outputs,
        inputs=groups * inputs,
    )


def _empty(parts: Mask) -> float:
    """Share of parts that hold nothing but zeros."""
    return 1.0 - np.count_nonzero(parts) / parts.size


def _blocks(view: Mask) -> Mask:
    """Which blocks of channels, at one kernel element, hold anything; those at the edges may be smaller."""
    for axis in (1, 2):
        view = np.logical_or.reduceat(view, np.arange(0, view.shape[axis], _BLOCK), axis=axis)
    return view


def _satisfies(view: Mask, kept: int, of: int) -> bool:
    if view.shape[2] <= kept:
        return False
    counts = np.add.reduceat(view, np.arange(0, view.shape[2], of), axis=2, dtype=np.int64)
    return bool((counts <= kept).all())

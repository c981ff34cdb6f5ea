"""What of each layer's weight is zero: elements, and whole channels, kernels and blocks.

Quantized weights are looked at through their DequantizeLinear: what equals the zero point is zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.walk import is_standard
from autocompress.passes.equalize.layers import canonical
from autocompress.passes.sparsify.masks import DoubleArray, part_energies
from autocompress.passes.sparsify.pattern import Share
from autocompress.passes.weighted_layers import MATRIX_OPS, MULTIPLYING

_PATTERNS = ((2, 4), (1, 4))


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


def report(model: ModelProto) -> tuple[LayerSparsity, ...]:
    """Zeros of every layer with a constant weight, in graph order.

    Args:
        model: float or quantized (Q/DQ form); shared weights are listed with each of their layers.
    """
    index = GraphIndex(model)
    rows = []
    for node in model.graph.node:
        if node.op_type not in MULTIPLYING or not is_standard(node.domain):
            continue
        found = _zeros(node, index)
        if found is not None:
            rows.append(_row(node, *found))
    return tuple(rows)


def total_sparsity(rows: tuple[LayerSparsity, ...]) -> float:
    """Share of zeros over all layers; a shared weight counts once."""
    weights = {row.weight: row for row in rows}.values()
    elements = sum(row.elements for row in weights)
    return 1.0 - sum(row.nonzero for row in weights) / elements if elements else 0.0


def _zeros(node: NodeProto, index: GraphIndex) -> tuple[str, DoubleArray] | None:
    """Name of the stored weight, and 1.0 where it is not zero; None where it is computed or no layer's weight."""
    name = node.input[1]
    producer = index.producers.get(name)
    zero_point: npt.NDArray[np.generic] = np.zeros(())
    if producer is not None and producer.op_type == "DequantizeLinear":
        name = producer.input[0]
        if len(producer.input) > 2 and producer.input[2]:
            if not index.is_constant(producer.input[2]):
                return None
            zero_point = index.weight(producer.input[2])
    if not index.is_constant(name):
        return None
    values = index.weight(name).astype(np.float64)
    wanted = 2 if node.op_type in MATRIX_OPS else None
    if values.size == 0 or values.ndim < 2 or (wanted is not None and values.ndim != wanted):
        return None
    return name, (values != _along(zero_point, values.shape, producer)).astype(np.float64)


def _along(zero_point: npt.NDArray[np.generic], shape: tuple[int, ...], producer: NodeProto | None) -> DoubleArray:
    """A zero point broadcast to its weight: one for all, one per channel, or one per block."""
    points = zero_point.astype(np.float64)
    if points.size == 1 or producer is None:
        return points.reshape(())
    axis = int(str(attribute(producer, "axis", 1))) % len(shape)
    if points.ndim == 1:
        return points.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    block = int(str(attribute(producer, "block_size", 0)))
    return np.repeat(points, block, axis=axis).take(range(shape[axis]), axis=axis)


def _row(node: NodeProto, weight: str, nonzero: DoubleArray) -> LayerSparsity:
    view = canonical(node, nonzero)
    count = int(nonzero.sum())
    return LayerSparsity(
        name=node.name,
        op_type=node.op_type,
        weight=weight,
        shape=nonzero.shape,
        elements=nonzero.size,
        nonzero=count,
        element=1.0 - count / nonzero.size,
        row=_share(view, Share("row", None)),
        channel=_share(view, Share("column", None)),
        kernel=_share(view, Share("kernel", None)),
        block=_share(view, Share("block", None, (4, 4))),
        patterns=tuple(f"{kept}:{of}" for kept, of in _PATTERNS if _satisfies(view, kept, of)),
    )


def _share(view: DoubleArray, parts: Share) -> float:
    energies, _ = part_energies(view, parts)
    return float(np.mean(energies == 0))


def _satisfies(view: DoubleArray, kept: int, of: int) -> bool:
    counts = np.add.reduceat(view, np.arange(0, view.shape[2], of), axis=2)
    return view.shape[2] > kept and bool((counts <= kept).all())

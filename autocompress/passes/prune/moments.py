"""Second moments of what layers read, with the mean: enough to solve any least squares over their input channels."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from autocompress.errors import DataError
from autocompress.graph.channels import ChannelGroup
from autocompress.graph.index import GraphIndex
from autocompress.passes.decompose.layers import Layer, decomposable_layers, kernel_of
from autocompress.passes.decompose.patches import Batches, Load, stream_rows

DoubleArray = npt.NDArray[np.float64]

MOST_COLUMNS = 3072  # of one layer; more would need a hundred megabytes and a minute
_ROWS = 12288  # of each layer, where there are so many; a few times as many as most layers have columns
_ROWS_PER_SAMPLE = 1024
_MOST_SAMPLES = 96
_RIDGE = 1e-3  # of the mean diagonal, as in the closed-form recovery


@dataclass(frozen=True, eq=False)
class Reader:
    """A layer y = W x + b with what it reads on samples.

    Attributes:
        layer: the layer.
        weight: W of shape (outputs, columns); the last column is zero and stands for the bias, where there is one.
        gram: E[x x'], made positive definite, of shape (columns, columns); with x = 1 in the bias's column.
        power: variance of y, summed over the outputs.
        has_bias: whether the layer has a bias of its own.
    """

    layer: Layer
    weight: DoubleArray
    gram: DoubleArray
    power: float
    has_bias: bool


def readers_of(model: ModelProto, groups: Sequence[ChannelGroup]) -> dict[str, Layer]:
    """The layers that read channels of groups, and of which moments can be taken: node name -> layer."""
    layers, _ = decomposable_layers(model)
    names = dict.fromkeys(name for group in groups for name in group.readers if name in layers)
    return {name: layers[name] for name in names if layers[name].inputs * layers[name].taps <= MOST_COLUMNS}


def column_units(group: ChannelGroup, layer: Layer) -> npt.NDArray[np.int64]:
    """The unit of a group that each column of a reader's weight belongs to, -1 for none; of shape (columns,)."""
    member = next(m for m in group.members if m.node == layer.name and m.role == "input")
    return np.repeat(member.units, layer.taps)


def read_moments(
    model: ModelProto, layers: Mapping[str, Layer], batches: Batches, load: Load | None = None
) -> dict[str, Reader]:
    """Takes the moments of layers in one pass, which ends as soon as every layer has been seen often enough.

    Args:
        model: that the layers belong to; not changed.
        layers: see ``readers_of``.
        batches: starts a pass over unlabelled samples.
        load: loads a model to run; ONNX Runtime with one thread unless given.

    Raises:
        DataError: there are no samples, or a layer's input holds NaN or Inf.
    """
    if not layers:
        return {}
    sizes = {name: layer.inputs * layer.taps for name, layer in layers.items()}
    squares = {name: np.zeros((size, size)) for name, size in sizes.items()}
    sums = {name: np.zeros(size) for name, size in sizes.items()}
    counts = dict.fromkeys(layers, 0)
    kernels = {name: layer.kernel for name, layer in layers.items()}
    few = functools.partial(_first, batches)
    for name, rows in stream_rows(model, kernels, few, load, _ROWS_PER_SAMPLE):
        if counts[name] >= _ROWS:
            continue
        squares[name] += rows.T @ rows
        sums[name] += rows.sum(axis=0, dtype=np.float64)
        counts[name] += len(rows)
        if min(counts.values()) >= _ROWS:
            break
    index = GraphIndex(model)
    return {
        name: _reader(layer, index, squares[name] / counts[name], sums[name] / counts[name])
        for name, layer in layers.items()
    }


def _first(batches: Batches) -> Iterator[dict[str, npt.NDArray[np.generic]]]:
    return itertools.islice(batches(), _MOST_SAMPLES)


def in_portions(
    model: ModelProto, groups: Sequence[ChannelGroup], max_bytes: int
) -> Iterator[tuple[ChannelGroup, ...]]:
    """Groups in order, in portions whose readers' moments need no more than so many bytes together, if possible."""
    portion: list[ChannelGroup] = []
    total = 0
    layers = readers_of(model, groups)
    for group in groups:
        size = sum(8 * (layers[n].inputs * layers[n].taps) ** 2 for n in group.readers if n in layers)
        if portion and total + size > max_bytes:
            yield tuple(portion)
            portion, total = [], 0
        portion.append(group)
        total += size
    if portion:
        yield tuple(portion)


def _reader(layer: Layer, index: GraphIndex, square: DoubleArray, mean: DoubleArray) -> Reader:
    if not np.isfinite(square).all():
        raise DataError(
            f"the input of layer {layer.name!r} holds NaN or Inf on the samples given; remove those samples"
        )
    weight = kernel_of(layer, index).reshape(layer.outputs, -1)
    covariance = square - np.outer(mean, mean)
    power = float(np.einsum("oi,ij,oj->", weight, covariance, weight, optimize=True))
    gram = (square + square.T) / 2
    gram[np.diag_indices_from(gram)] += _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-30)
    has_bias = _has_bias(layer, index)
    if has_bias:
        gram = np.block([[gram, mean[:, None]], [mean[None, :], np.ones((1, 1))]])
        weight = np.pad(weight, ((0, 0), (0, 1)))
    return Reader(layer, weight, gram, max(power, 1e-30), has_bias)


def _has_bias(layer: Layer, index: GraphIndex) -> bool:
    """Whether a constant of one number per output is added within the node, by nobody else's leave."""
    node = index.nodes[layer.name]
    if len(node.input) < 3 or not node.input[2] or not index.is_constant(node.input[2]):
        return False
    plain = all(a.f == 1.0 for a in node.attribute if a.name in ("alpha", "beta"))
    return plain and index.weight(node.input[2]).shape == (layer.outputs,)

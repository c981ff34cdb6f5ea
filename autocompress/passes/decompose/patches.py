"""What layers multiply with their weights, as rows, streamed from samples.

A convolution is the product of its patches, flattened from (inputs, *kernel), with its kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto

from autocompress.calibration.outputs import ActivationSessions, LoadedModel
from autocompress.errors import DataError
from autocompress.graph.index import GraphIndex, attribute
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import SessionOptions

Array = npt.NDArray[np.generic]
Rows = npt.NDArray[np.floating]
Batches = Callable[[], Iterator[dict[str, Array]]]
Load = Callable[[ModelProto], LoadedModel]

_CHUNK_ROWS = 16384


def run_with_onnxruntime(model: ModelProto) -> LoadedModel:
    """Loads a model into ONNX Runtime with one thread."""
    return get_runtime("onnxruntime").load(model.SerializeToString(), SessionOptions(threads=1))


def stream_rows(
    model: ModelProto,
    kernels: Mapping[str, Sequence[int]],
    batches: Batches,
    load: Load | None = None,
    most_rows: int | None = None,
) -> Iterator[tuple[str, Rows]]:
    """One pass over the samples: what each layer multiplies with its weight, a chunk of rows at a time.

    Args:
        model: that the layers belong to.
        kernels: node name -> sizes of its kernel; () for a matrix.
        batches: starts a pass over unlabelled samples.
        load: loads a model to run; ONNX Runtime with one thread unless given.
        most_rows: of each sample of a convolution, evenly over its positions; all unless given.

    Raises:
        DataError: there are no samples.
    """
    sessions = ActivationSessions(model, load or run_with_onnxruntime)
    index = GraphIndex(model)
    nodes = [index.nodes[name] for name in kernels]
    computed = [name for name in dict.fromkeys(node.input[0] for node in nodes) if name not in index.inputs]
    session = sessions.open(computed) if computed else None
    is_empty = True
    for batch in batches():
        is_empty = False
        values = dict(batch)
        if session is not None:
            values.update(session.run({name: batch[name] for name in sessions.input_names}))
        for node in nodes:
            for rows in _chunks(node, kernels[node.name], values[node.input[0]], most_rows):
                yield node.name, rows
    if is_empty:
        raise DataError("there are no samples to see what the layers read; give --data with at least one")


def _chunks(node: NodeProto, kernel: Sequence[int], values: Array, most_rows: int | None) -> Iterator[Rows]:
    """The rows of a batch; those of a convolution one sample after the other, since patches overlap."""
    for sample in np.split(values, len(values)) if kernel else [values]:
        rows = patch_rows(node, kernel, sample, most_rows)
        for start in range(0, len(rows), _CHUNK_ROWS):
            yield rows[start : start + _CHUNK_ROWS]


def patch_rows(node: NodeProto, kernel: Sequence[int], sample: Array, most_rows: int | None = None) -> Rows:
    """Everything that a layer multiplies with its weight.

    Args:
        node: a Gemm or MatMul, or a convolution (of any number of groups); a transposed convolution multiplies each
            position by its whole kernel, so its rows are the positions.
        kernel: sizes of its kernel; () for a matrix.
        sample: its input, of shape (..., inputs), or (batch, inputs, *spatial) for a convolution.
        most_rows: positions of a convolution to take, evenly; all unless given.

    Returns:
        Rows of shape (positions, inputs x kernel elements).
    """
    if not kernel:
        return cast(Rows, sample.reshape(-1, sample.shape[-1]))
    if node.op_type == "ConvTranspose":
        return cast(Rows, np.moveaxis(sample, 1, -1).reshape(-1, sample.shape[1]))
    rank = len(kernel)
    strides = _integers(node, "strides", rank)
    dilations = _integers(node, "dilations", rank)
    extents = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    padded = np.pad(sample, [(0, 0), (0, 0), *_padding(node, sample.shape[2:], extents, strides)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, extents, axis=tuple(range(2, 2 + rank)))
    steps = [1, 1, *strides, *dilations]
    windows = windows[tuple(slice(None, None, step) for step in steps)]
    # (batch, inputs, *positions, *kernel) -> (batch, *positions, inputs, *kernel)
    order = (0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank))
    placed = windows.transpose(order)
    positions = placed.shape[: 1 + rank]
    if most_rows is not None and int(np.prod(positions)) > most_rows:
        chosen = np.linspace(0, int(np.prod(positions)) - 1, most_rows).astype(np.int64)
        placed = placed[np.unravel_index(chosen, positions)]
    return cast(Rows, placed.reshape(-1, sample.shape[1] * int(np.prod(kernel))))


def _padding(
    node: NodeProto, spatial: Sequence[int], extents: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """(before, after) per spatial axis."""
    automatic = attribute(node, "auto_pad", b"NOTSET")
    if automatic == b"VALID":
        return [(0, 0)] * len(spatial)
    if automatic not in (b"SAME_UPPER", b"SAME_LOWER"):
        pads = attribute(node, "pads", [0] * (2 * len(spatial)))
        assert isinstance(pads, list)
        return list(zip(map(int, pads[: len(spatial)]), map(int, pads[len(spatial) :]), strict=True))
    found = []
    for size, extent, stride in zip(spatial, extents, strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + extent - size)
        small, large = total // 2, total - total // 2
        found.append((small, large) if automatic == b"SAME_UPPER" else (large, small))
    return found


def _integers(node: NodeProto, name: str, count: int) -> list[int]:
    values = attribute(node, name, [1] * count)
    assert isinstance(values, list)
    return [int(value) for value in values]

"""A layer as a matrix product: rows of its input times its weight, group by group.

    outputs[g] = inputs[g] @ weight[g].T + bias[g],    inputs[g] of shape (rows, K), weight[g] of shape (O/g, K)

For Gemm and MatMul a row is what stands along the last axis; for a convolution it is the patch of the input that one
output position sees (im2col), so that K = inputs of a group times kernel elements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from autocompress.graph.index import attribute
from autocompress.passes.equalize.layers import canonical
from autocompress.passes.quantize.weights import conv_groups

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

LAYERS = frozenset({"Conv", "Gemm", "MatMul"})


def to_matrices(node: NodeProto, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A weight, or anything of its shape, as a fresh array of shape (groups, O/g, K)."""
    view = canonical(node, np.ascontiguousarray(values))
    return np.ascontiguousarray(view).reshape(*view.shape[:2], -1)


def from_matrices(
    node: NodeProto, matrices: npt.NDArray[np.generic], shape: tuple[int, ...]
) -> npt.NDArray[np.generic]:
    """Inverse of ``to_matrices`` for a weight of the given shape."""
    values = np.empty(shape, matrices.dtype)
    view = canonical(node, values)
    view[...] = matrices.reshape(view.shape)
    return values


@dataclass(frozen=True)
class RowReader:
    """Reads rows off the input and output of a layer.

    Attributes:
        node: the layer.
        kernel: sizes of the kernel; () for Gemm and MatMul.
    """

    node: NodeProto
    kernel: tuple[int, ...]

    @property
    def groups(self) -> int:
        """Groups of the layer."""
        return conv_groups(self.node)

    def rows_in(self, output: npt.NDArray[np.generic]) -> int:
        """How many rows a batch has, from the layer's output."""
        shape: tuple[int, ...] = output.shape
        return math.prod((shape[0], *shape[2:]) if self.kernel else shape[:-1])

    def read(self, source: FloatArray, output: FloatArray, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Some rows of one batch.

        Args:
            source: the layer's input.
            output: the layer's output, before any activation.
            rows: which, as numbers below ``rows_in(output)``.

        Returns:
            Inputs of shape (groups, rows, K) and outputs of shape (groups, rows, O/g).
        """
        if not self.kernel:
            inputs = source.reshape(-1, source.shape[-1])[rows]
            return inputs[None], output.reshape(-1, output.shape[-1])[rows][None]
        batch, *place = np.unravel_index(rows, (output.shape[0], *output.shape[2:]))
        found = np.moveaxis(output, 1, -1)[(batch, *place)]
        return self._grouped(self._patches(source, output, batch, place)), self._grouped(found)

    def _grouped(self, values: FloatArray) -> FloatArray:
        return np.ascontiguousarray(values.reshape(len(values), self.groups, -1).transpose(1, 0, 2))

    def _patches(
        self, source: FloatArray, output: FloatArray, batch: npt.NDArray[np.intp], place: list[npt.NDArray[np.intp]]
    ) -> FloatArray:
        """Patches of shape (rows, channels, kernel elements)."""
        dims = len(self.kernel)
        strides, dilations = self._numbers("strides", dims), self._numbers("dilations", dims)
        extents = [(k - 1) * d + 1 for k, d in zip(self.kernel, dilations, strict=True)]
        needed = [(o - 1) * s + e for o, s, e in zip(output.shape[2:], strides, extents, strict=True)]
        begins = self._begins(needed, source.shape[2:])
        index: list[npt.NDArray[np.intp]] = [batch.reshape(-1, *(1 for _ in range(dims)))]
        outside = np.zeros((1,) * (dims + 1), np.bool_)
        for axis in range(dims):
            offsets = np.arange(self.kernel[axis]) * dilations[axis] - begins[axis]
            shape = [len(batch), *(self.kernel[axis] if i == axis else 1 for i in range(dims))]
            at = (place[axis][:, None] * strides[axis] + offsets).reshape(shape)
            size = source.shape[2 + axis]
            outside = outside | (at < 0) | (at >= size)
            index.append(np.clip(at, 0, size - 1))
        patches = np.moveaxis(source, 1, -1)[tuple(index)]  # (rows, *kernel, channels)
        patches[np.broadcast_to(outside, patches.shape[:-1])] = 0.0
        return np.moveaxis(patches, -1, 1).reshape(len(batch), source.shape[1], -1)

    def _begins(self, needed: list[int], sizes: tuple[int, ...]) -> list[int]:
        """Padding before each spatial axis."""
        automatic = attribute(self.node, "auto_pad", b"NOTSET")
        mode = automatic.decode() if isinstance(automatic, bytes) else str(automatic)
        if mode.startswith("SAME"):
            total = [max(n - size, 0) for n, size in zip(needed, sizes, strict=True)]
            return [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
        pads = attribute(self.node, "pads", None)
        if mode == "VALID" or pads is None:
            return [0] * len(sizes)
        return [int(pad) for pad in list(pads)[: len(sizes)]]  # type: ignore[call-overload]

    def _numbers(self, name: str, count: int) -> list[int]:
        values = attribute(self.node, name, None)
        return [1] * count if values is None else [int(v) for v in list(values)]  # type: ignore[call-overload]


def drawn_rows(total: int, wanted: int, generator: np.random.Generator) -> IntArray:
    """All rows where they are few enough, else as many as wanted, drawn without replacement, in order."""
    if total <= wanted:
        return np.arange(total)
    return np.sort(generator.choice(total, wanted, replace=False))


def blocks_of(total: int, size: int) -> list[tuple[int, int]]:
    """(start, stop) of consecutive blocks that cover ``range(total)``."""
    ends = [*range(0, total, size), total]
    return list(pairwise(ends))

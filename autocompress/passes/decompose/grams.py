"""Second moments of what layers read, streamed from samples: G = mean of p p^T over all patches p.

Memory is that of the moments themselves, one sample's patches and one batch's inputs of the layers at hand; layers
that would need more than a bound together are done in further passes over the samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from onnx import ModelProto

from autocompress.errors import DataError
from autocompress.passes.decompose.layers import DoubleArray, Layer
from autocompress.passes.decompose.patches import Batches, Load, stream_rows

MAX_BYTES = 256 * 1024 * 1024
_ROWS_PER_SAMPLE, _ROWS_PER_COLUMN = 1024, 2  # of a sample at most, evenly over its positions: neighbours are alike
_RIDGE = 1e-6  # of the mean diagonal: keeps directions that no sample shows


def input_grams(
    model: ModelProto, layers: Sequence[Layer], batches: Batches, load: Load | None = None
) -> dict[str, DoubleArray]:
    """Second moments of all layers at once, for few or small ones (see ``stream_grams``).

    Raises:
        DataError: there are no samples, or a layer's input holds NaN or Inf.
    """
    return dict(stream_grams(model, layers, batches, load))


def stream_grams(
    model: ModelProto,
    layers: Sequence[Layer],
    batches: Batches,
    load: Load | None = None,
    max_bytes: int = MAX_BYTES,
) -> Iterator[tuple[str, DoubleArray]]:
    """Second moments of the patches of each layer, made positive definite, one layer after the other.

    Of large maps not every patch is looked at: a few times as many per sample as the largest layer has columns.

    Args:
        model: that the layers belong to.
        layers: whose inputs to look at.
        batches: starts a pass over unlabelled samples.
        load: loads a model to run; ONNX Runtime with one thread unless given.
        max_bytes: moments that are held at a time, unless one alone is larger.

    Yields:
        Layer name and G, float64 of shape (inputs x kernel elements, same), in the order of ``layers``.

    Raises:
        DataError: there are no samples, or a layer's input holds NaN or Inf.
    """
    for group in _groups(layers, max_bytes):
        totals = {layer.name: np.zeros((layer.inputs * layer.taps,) * 2) for layer in group}
        counts = dict.fromkeys(totals, 0)
        kernels = {layer.name: layer.kernel for layer in group}
        most = max(_ROWS_PER_SAMPLE, _ROWS_PER_COLUMN * max(map(len, totals.values())))
        for name, rows in stream_rows(model, kernels, batches, load, most):
            totals[name] += rows.T @ rows
            counts[name] += len(rows)
        for layer in group:
            yield layer.name, _definite(totals.pop(layer.name), counts[layer.name], layer.name)


def _groups(layers: Sequence[Layer], max_bytes: int) -> list[list[Layer]]:
    """Layers in order, each group within the bound unless one layer alone exceeds it."""
    groups: list[list[Layer]] = []
    total = 0
    for layer in layers:
        size = 8 * (layer.inputs * layer.taps) ** 2
        if not groups or total + size > max_bytes:
            groups.append([])
            total = 0
        groups[-1].append(layer)
        total += size
    return groups


def _definite(total: DoubleArray, count: int, name: str) -> DoubleArray:
    if not np.isfinite(total).all():
        raise DataError(f"the input of layer {name!r} holds NaN or Inf on the samples given; remove those samples")
    gram = (total + total.T) / (2 * count)
    scale = np.trace(gram) / len(gram)
    return gram + np.eye(len(gram)) * (_RIDGE * scale if scale else 1.0)

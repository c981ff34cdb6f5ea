"""How large the inputs of each weight are: the root mean square over all samples (Wanda, arXiv 2306.11695)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from autocompress.errors import DataError
from autocompress.passes.decompose.patches import Batches, Load, stream_rows
from autocompress.passes.sparsify.layers import SparseLayer
from autocompress.passes.sparsify.masks import DoubleArray

_MOST_ROWS = 1024  # of each sample of a convolution; neighbouring positions say much the same


def input_norms(
    model: ModelProto, layers: Mapping[str, SparseLayer], batches: Batches, load: Load | None = None
) -> dict[str, DoubleArray]:
    """Root mean square of what meets each weight.

    A transposed convolution spreads its inputs, so each of its kernel elements meets all of them.

    Args:
        model: that the layers belong to.
        layers: by node name.
        batches: starts a pass over unlabelled samples.
        load: loads a model to run.

    Returns:
        Node name -> array of shape (groups, 1, input channels, kernel elements or 1), to multiply magnitudes with.

    Raises:
        DataError: there are no samples, or a layer's input holds NaN or Inf.
    """
    kernels = {name: layer.kernel for name, layer in layers.items()}
    totals: dict[str, DoubleArray] = {}
    counts = dict.fromkeys(layers, 0)
    for name, rows in stream_rows(model, kernels, batches, load, most_rows=_MOST_ROWS):
        squares = np.einsum("np,np->p", rows, rows, dtype=np.float64)
        totals[name] = totals[name] + squares if name in totals else squares
        counts[name] += len(rows)
    norms: dict[str, DoubleArray] = {}
    for name, layer in layers.items():
        if not np.isfinite(totals[name]).all():
            raise DataError(f"the input of layer {name!r} holds NaN or Inf on the samples given; remove those samples")
        groups, _, inputs, _ = layer.view.shape
        norms[name] = np.sqrt(totals[name] / counts[name]).reshape(groups, 1, inputs, -1)
    return norms

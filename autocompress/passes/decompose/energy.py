"""How much of a layer a rank keeps: the share of its squared singular values ("energy").

Whitened, the energy is that of the layer's output, so one minus the energy is the relative squared error at the output
(exactly so for "svd").
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from autocompress.graph.index import GraphIndex
from autocompress.passes.decompose.layers import DoubleArray, Layer, kernel_of
from autocompress.passes.decompose.methods import METHODS


def rank_energy(
    model: ModelProto, layer: Layer, method: str, gram: DoubleArray | None = None
) -> tuple[DoubleArray, ...]:
    """For each rank of a method, the energy kept by 1, 2, ... full; rising, from above 0 to 1.

    Args:
        model: that the layer belongs to.
        layer: one that suits the method.
        method: one of ``METHODS``.
        gram: second moment of the layer's patches (see ``grams.input_grams``), or None for the weights' own energy.
    """
    spectra = METHODS[method].spectra(kernel_of(layer, GraphIndex(model)), gram)
    return tuple(_curve(values) for values in spectra)


def rank_for_energy(curve: DoubleArray, energy: float) -> int:
    """The smallest rank that keeps a share ``energy`` in (0, 1]."""
    # A share that differs from the wanted one by rounding alone is enough.
    return int(np.searchsorted(curve, energy - 1e-12) + 1)


def _curve(singular_values: DoubleArray) -> DoubleArray:
    squares = singular_values**2
    total = squares.sum()
    if total == 0:
        return np.ones_like(squares)
    curve: DoubleArray = np.minimum(np.cumsum(squares) / total, 1.0)
    return curve

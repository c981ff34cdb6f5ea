"""Two layers by a truncated singular value decomposition: W = U S V^T, cut after R terms.

With rows x of second moment G = E[x x^T] = L L^T, the mean squared error at the output is ||(W - W') L||_F^2, so the
best W' of rank R is (W L cut after R terms) L^-1, by Eckart and Young.  With U of W L, that is U_R U_R^T W: no inverse
is needed.  (DRONE, Chen et al. 2021; SVD-LLM, Wang et al. 2024, arXiv 2403.07378.)  For a k x k convolution the rows
are its patches and the last part is 1 x 1 (Zhang et al. 2015, arXiv 1505.06798).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autocompress.passes.decompose.layers import DoubleArray, Layer, singular_values
from autocompress.passes.decompose.method import Attributes


class Svd:
    """I -> R with the layer's kernel, then R -> O."""

    rank_count = 1

    def unfit(self, layer: Layer) -> str:
        """Why it is not for this layer; "" where it is."""
        return "it has one channel" if min(layer.inputs * layer.taps, layer.outputs) == 1 else ""

    def full_ranks(self, layer: Layer) -> tuple[int, ...]:
        """The smaller side of the matrix (outputs, inputs x kernel)."""
        return (min(layer.inputs * layer.taps, layer.outputs),)

    def unfit_ranks(self, layer: Layer, ranks: Sequence[int]) -> str:
        """Every rank up to full makes sense."""
        return ""

    def relative_macs(self, layer: Layer, ranks: Sequence[int]) -> float:
        """R (I k + O) / (I k O)."""
        patch = layer.inputs * layer.taps
        return ranks[0] * (patch + layer.outputs) / (patch * layer.outputs)

    def spectra(self, kernel: DoubleArray, gram: DoubleArray | None) -> tuple[DoubleArray, ...]:
        """Singular values of W L."""
        matrix = kernel.reshape(len(kernel), -1)
        return (singular_values(_weighted(matrix, gram)),)

    def factorize(self, kernel: DoubleArray, ranks: Sequence[int], gram: DoubleArray | None) -> tuple[DoubleArray, ...]:
        """(R, I, *kernel) and (O, R, 1, ...)."""
        matrix = kernel.reshape(len(kernel), -1)
        first, last = reduced_rank(matrix, ranks[0], gram)
        return first.reshape(ranks[0], *kernel.shape[1:]), last.reshape(*last.shape, *[1] * (kernel.ndim - 2))

    def attributes(self, given: Attributes, rank: int) -> tuple[Attributes, ...]:
        """The first part keeps strides, padding and dilation."""
        return given, {"kernel_shape": [1] * rank}


def reduced_rank(matrix: DoubleArray, rank: int, gram: DoubleArray | None) -> tuple[DoubleArray, DoubleArray]:
    """The best product of two matrices under ||(W - last first) L||_F.

    Each pair of a row of ``first`` and a column of ``last`` has equal norms, which suits quantization.

    Args:
        matrix: W, of shape (outputs, inputs).
        rank: R.
        gram: L L^T, or None for the identity.

    Returns:
        ``first`` of shape (R, inputs) and ``last`` of shape (outputs, R).
    """
    left = np.linalg.svd(_weighted(matrix, gram), full_matrices=False)[0][:, :rank]
    first = left.T @ matrix
    balance = np.sqrt(np.linalg.norm(first, axis=1))
    balance[balance == 0] = 1.0
    return first / balance[:, None], left * balance


def _weighted(matrix: DoubleArray, gram: DoubleArray | None) -> DoubleArray:
    return matrix if gram is None else matrix @ np.linalg.cholesky(gram)

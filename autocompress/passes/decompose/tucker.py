"""Tucker-2: 1 x 1, a small k x k core, 1 x 1 (Kim et al. 2016, arXiv 1511.06530).

    W[o, i, :] = sum_pq  out[o, q]  core[q, p, :]  in[p, i]

Plain: bases of the unfoldings along inputs and outputs, improved in turn (higher-order orthogonal iteration, De
Lathauwer et al. 2000).  Whitened: the input basis from the second moment of the input channels; given it, core and
output basis are the best of their rank for whole patches, which is a reduced-rank regression, solved exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autocompress.passes.decompose.layers import DoubleArray, Layer, singular_values
from autocompress.passes.decompose.method import Attributes
from autocompress.passes.decompose.regression import regress
from autocompress.passes.decompose.svd import reduced_rank

_ITERATIONS = 10


class Tucker2:
    """I -> P (1 x 1), P -> Q (k x k), Q -> O (1 x 1)."""

    rank_count = 2

    def unfit(self, layer: Layer) -> str:
        """Why it is not for this layer; "" where it is."""
        return "its kernel has one element" if layer.taps == 1 else ""

    def full_ranks(self, layer: Layer) -> tuple[int, ...]:
        """(input rank, output rank)."""
        return (
            min(layer.inputs, layer.outputs * layer.taps),
            min(layer.outputs, layer.inputs * layer.taps),
        )

    def unfit_ranks(self, layer: Layer, ranks: Sequence[int]) -> str:
        """Neither rank can exceed the other times the kernel's elements: the core's own rank is no higher."""
        low, high = sorted(ranks)
        return f"rank {ranks[0]}x{ranks[1]} is more than its core can have" if high > low * layer.taps else ""

    def relative_macs(self, layer: Layer, ranks: Sequence[int]) -> float:
        """(I P s + P Q k + Q O) / (I O k): the first part runs before the strides."""
        first, last = ranks
        stride = int(np.prod(layer.strides))
        parts = layer.inputs * first * stride + first * last * layer.taps + last * layer.outputs
        return parts / (layer.inputs * layer.outputs * layer.taps)

    def spectra(self, kernel: DoubleArray, gram: DoubleArray | None) -> tuple[DoubleArray, ...]:
        """Singular values of the unfoldings along inputs and outputs."""
        matrix = kernel.reshape(len(kernel), -1)
        outputs = matrix if gram is None else matrix @ np.linalg.cholesky(gram)
        return (
            singular_values(_weighted_inputs(kernel, gram)),
            singular_values(outputs),
        )

    def factorize(self, kernel: DoubleArray, ranks: Sequence[int], gram: DoubleArray | None) -> tuple[DoubleArray, ...]:
        """(P, I, 1, ...), (Q, P, *kernel) and (O, Q, 1, ...)."""
        spatial = kernel.shape[2:]
        flat = kernel.reshape(*kernel.shape[:2], -1)  # (O, I, k)
        inner, outer = ranks
        first, core, last = _plain(flat, inner, outer) if gram is None else _whitened(flat, inner, outer, gram)
        ones = [1] * len(spatial)
        return (
            first.reshape(*first.shape, *ones),
            core.reshape(outer, inner, *spatial),
            last.reshape(*last.shape, *ones),
        )

    def attributes(self, given: Attributes, rank: int) -> tuple[Attributes, ...]:
        """The core keeps strides, padding and dilation."""
        return {"kernel_shape": [1] * rank}, given, {"kernel_shape": [1] * rank}


def _plain(kernel: DoubleArray, inputs: int, outputs: int) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Orthonormal bases by higher-order orthogonal iteration."""
    out_basis = _basis(kernel.reshape(len(kernel), -1), outputs)  # (O, Q)
    in_basis = _basis(kernel.transpose(1, 0, 2).reshape(kernel.shape[1], -1), inputs)  # (I, P)
    for _ in range(_ITERATIONS):
        reduced = np.einsum("oik,oq->iqk", kernel, out_basis)
        in_basis = _basis(reduced.reshape(kernel.shape[1], -1), inputs)
        reduced = np.einsum("oik,ip->opk", kernel, in_basis)
        out_basis = _basis(reduced.reshape(len(kernel), -1), outputs)
    core = np.einsum("oik,oq,ip->qpk", kernel, out_basis, in_basis, optimize=True)
    return in_basis.T, core, out_basis


def _whitened(
    kernel: DoubleArray, inputs: int, outputs: int, gram: DoubleArray
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """The input basis by channel moments, the rest by reduced-rank regression."""
    taps = kernel.shape[2]
    right = np.linalg.svd(_weighted_inputs(kernel, gram), full_matrices=False)[2][:inputs]  # (P, O k)
    first = right @ kernel.transpose(0, 2, 1).reshape(-1, kernel.shape[1])  # (P, I)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    features = np.einsum("pi,kz->pkiz", first, np.eye(taps)).reshape(inputs * taps, -1)
    wide = regress(kernel.reshape(len(kernel), -1), features, gram)  # (O, P k)
    moment = features @ gram @ features.T
    # The smallest ridge that lets a moment of dependent features be factored.
    moment += np.eye(len(moment)) * (1e-12 * np.trace(moment) / len(moment))
    core, last = reduced_rank(wide, outputs, moment)
    return first, core, last


def _basis(matrix: DoubleArray, rank: int) -> DoubleArray:
    left: DoubleArray = np.linalg.svd(matrix, full_matrices=False)[0][:, :rank]
    return left


def _weighted_inputs(kernel: DoubleArray, gram: DoubleArray | None) -> DoubleArray:
    """L^T times the unfolding (I, O k), its columns in the order (o, k)."""
    flat = kernel.reshape(*kernel.shape[:2], -1)
    unfolded = flat.transpose(1, 0, 2).reshape(flat.shape[1], -1)
    if gram is None:
        return unfolded
    inputs, taps = flat.shape[1:]
    moment = np.einsum("ikjk->ij", gram.reshape(inputs, taps, inputs, taps)) / taps
    return np.linalg.cholesky(moment).T @ unfolded

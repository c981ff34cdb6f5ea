"""SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774): drop weights one by one and let the rest make up for it.

With H = E[p p^T] over what a layer reads and U the upper Cholesky factor of H^-1, dropping weight j of a row adds
    -w_j / U_jj  U_j,j+1..
to the weights after it, which is the least-squares answer given those before.  The weights with the least
(w_j / U_jj)^2 are dropped: among each m input channels, or, for a share, among a block of columns at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autocompress.passes.sparsify.masks import DoubleArray, Mask, count_of, nm_mask
from autocompress.passes.sparsify.pattern import NM, Share

_BLOCK = 128
_DAMPING = 0.01  # of the mean diagonal, as in the paper


def prune(weight: DoubleArray, gram: DoubleArray, pattern: NM | Share) -> tuple[DoubleArray, Mask]:
    """Chooses what to drop, and updates what stays.

    Args:
        weight: of shape (outputs, inputs, kernel elements).
        gram: second moment of the patches, in the order (inputs, kernel elements).
        pattern: N:M, or "unstructured" with a share.

    Returns:
        The new weight, zeros in it, and the mask, both of the shape of ``weight``.
    """
    outputs, inputs, taps = weight.shape
    # Input channels innermost, so that the m channels of a group stand side by side.
    order = np.arange(inputs * taps).reshape(inputs, taps).T.reshape(-1)
    flat = weight.reshape(outputs, -1)[:, order].copy()
    factor = _inverse_factor(gram[np.ix_(order, order)])
    kept = np.ones(flat.shape, np.bool_)
    for start, stop in _blocks(inputs, taps, pattern):
        kept[:, start:stop] = _prune_block(flat, factor, start, stop, pattern)
    back = np.argsort(order)
    return flat[:, back].reshape(weight.shape), kept[:, back].reshape(weight.shape)


def _prune_block(flat: DoubleArray, factor: DoubleArray, start: int, stop: int, pattern: NM | Share) -> Mask:
    """Drops within columns start..stop, in place, and passes the error on to all columns after."""
    kept = np.ones((len(flat), stop - start), np.bool_)
    errors = np.zeros((len(flat), stop - start))
    diagonal = np.diag(factor)
    if isinstance(pattern, Share):
        kept = _share_of_block(flat[:, start:stop] / diagonal[start:stop], flat.shape, start, pattern)
    for column in range(start, stop):
        if isinstance(pattern, NM) and (column - start) % pattern.of == 0:
            end = min(column + pattern.of, stop)
            scores = (flat[:, column:end] / diagonal[column:end]) ** 2
            kept[:, column - start : end - start] = nm_mask(scores[None, :, :, None], pattern)[0, :, :, 0]
        error = np.where(kept[:, column - start], 0.0, flat[:, column] / diagonal[column])
        flat[:, column:stop] -= np.outer(error, factor[column, column:stop])
        errors[:, column - start] = error
    flat[:, start:stop][~kept] = 0.0
    flat[:, stop:] -= errors @ factor[start:stop, stop:]
    return kept


def _share_of_block(scaled: DoubleArray, shape: tuple[int, ...], start: int, pattern: Share) -> Mask:
    """Drops the lowest of a block; blocks drop numbers that add up to the nearest whole number for the layer."""
    assert pattern.sparsity is not None
    before, after = (count_of(pattern.sparsity, shape[0] * end) for end in (start, start + scaled.shape[1]))
    kept = np.ones(scaled.size, np.bool_)
    kept[np.argsort(np.abs(scaled).reshape(-1), kind="stable")[: after - before]] = False
    return kept.reshape(scaled.shape)


def _blocks(inputs: int, taps: int, pattern: NM | Share) -> Iterator[tuple[int, int]]:
    """Ranges of columns; those of N:M end where the input channels of a kernel element end."""
    if isinstance(pattern, Share):
        yield from ((start, min(start + _BLOCK, inputs * taps)) for start in range(0, inputs * taps, _BLOCK))
        return
    step = max(1, _BLOCK // pattern.of) * pattern.of
    for tap in range(taps):
        for start in range(0, inputs, step):
            yield tap * inputs + start, tap * inputs + min(start + step, inputs)


def _inverse_factor(gram: DoubleArray) -> DoubleArray:
    """Upper triangular U with U^T U = H^-1."""
    damped = gram + np.eye(len(gram)) * (_DAMPING * np.trace(gram) / len(gram))
    inverse = np.linalg.inv(damped)
    upper: DoubleArray = np.linalg.cholesky((inverse + inverse.T) / 2).T.astype(np.float64)
    return upper

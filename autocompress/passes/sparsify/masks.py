"""Exact masks from scores: what has the lowest scores is dropped, and of equal scores what stands first.

Scores and masks have the shape (groups, output channels, input channels, kernel elements); True is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from autocompress.passes.sparsify.pattern import NM, Share

DoubleArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def count_of(sparsity: float, elements: int) -> int:
    """How many of ``elements`` are dropped: the nearest whole number, halves upwards."""
    # A share such as 0.29 times 100 is 28.999999999999996.
    return math.floor(round(sparsity * elements, 9) + 0.5)


def nm_mask(scores: DoubleArray, pattern: NM) -> Mask:
    """Keeps the best ``kept`` of each ``of`` input channels, for every output and kernel element.

    Where the channels do not divide evenly, the last group counts as padded: up to ``kept`` of it stay.
    """
    moved = np.moveaxis(scores, 2, -1)
    inputs = moved.shape[-1]
    padding = -inputs % pattern.of
    padded = np.pad(moved, [(0, 0)] * (moved.ndim - 1) + [(0, padding)], constant_values=-np.inf)
    grouped = padded.reshape(*padded.shape[:-1], -1, pattern.of)
    kept = np.zeros(grouped.shape, np.bool_)
    np.put_along_axis(kept, _lowest_first(grouped)[..., pattern.of - pattern.kept :], True, axis=-1)
    return np.ascontiguousarray(np.moveaxis(kept.reshape(padded.shape)[..., :inputs], -1, 2))


def share_mask(scores: DoubleArray, pattern: Share, sparsity: float) -> Mask:
    """Drops exactly the nearest whole number of parts to the share; the best part is always kept."""
    energies, sizes = part_energies(scores, pattern)
    dropped = min(count_of(sparsity, energies.size), energies.size - 1)
    kept = np.ones(energies.size, np.bool_)
    kept[_lowest_first((energies / sizes).reshape(-1))[:dropped]] = False
    return spread(kept.reshape(energies.shape), scores.shape, pattern)


def per_output_mask(scores: DoubleArray, sparsity: float) -> Mask:
    """Drops the share of each output channel (as Wanda compares), exactly in total.

    Output channels drop numbers that differ by at most one, so that their sum is the nearest whole number.
    """
    rows = scores.reshape(-1, scores.shape[2] * scores.shape[3])
    bounds = [count_of(sparsity, rows.shape[1] * (row + 1)) for row in range(-1, len(rows))]
    kept = np.ones(rows.shape, np.bool_)
    order = _lowest_first(rows)
    for row, (low, high) in enumerate(pairwise(bounds)):
        kept[row, order[row, : high - low]] = False
    return kept.reshape(scores.shape)


def global_masks(scores: Mapping[str, DoubleArray], patterns: Mapping[str, Share], sparsity: float) -> dict[str, Mask]:
    """Drops the lowest parts of all layers together, never the best part of a layer.

    Parts are compared by their mean squared score per weight.  As many are dropped as fit into the share of all
    weights: exactly the nearest whole number where parts are single weights.
    """
    names = list(scores)
    found = [part_energies(scores[name], patterns[name]) for name in names]
    means = [(energies / sizes).reshape(-1) for energies, sizes in found]
    for values in means:
        values[_lowest_first(values)[-1]] = np.inf
    order = _lowest_first(np.concatenate(means))
    sizes = np.concatenate([np.broadcast_to(size, energies.shape).reshape(-1) for energies, size in found])
    most = count_of(sparsity, sum(array.size for array in scores.values()))
    dropped = order[: np.searchsorted(np.cumsum(sizes[order]), most, side="right")]
    dropped = dropped[np.isfinite(np.concatenate(means)[dropped])]
    kept = np.ones(len(order), np.bool_)
    kept[dropped] = False
    parts = np.split(kept, np.cumsum([len(values) for values in means])[:-1])
    return {
        name: spread(part.reshape(energies.shape), scores[name].shape, patterns[name])
        for name, part, (energies, _) in zip(names, parts, found, strict=True)
    }


def part_energies(scores: DoubleArray, pattern: Share) -> tuple[DoubleArray, DoubleArray]:
    """Sum of squared scores of each part, of shape (groups, parts...), and how many weights each has."""
    squares = scores**2
    sizes = np.ones(scores.shape)
    for axis, step in enumerate(_part(scores.shape, pattern), start=1):
        starts = np.arange(0, squares.shape[axis], step)
        squares = np.add.reduceat(squares, starts, axis=axis)
        sizes = np.add.reduceat(sizes, starts, axis=axis)
    return squares, sizes


def spread(kept: Mask, shape: Sequence[int], pattern: Share) -> Mask:
    """A mask of weights from a mask of parts."""
    for axis, step in enumerate(_part(shape, pattern), start=1):
        kept = np.repeat(kept, step, axis=axis).take(range(shape[axis]), axis=axis)
    return kept


def _part(shape: Sequence[int], pattern: Share) -> tuple[int, int, int]:
    return pattern.part_shape(shape[1], shape[2], shape[3])


def _lowest_first(values: DoubleArray) -> npt.NDArray[np.intp]:
    return np.argsort(values, axis=-1, kind="stable")

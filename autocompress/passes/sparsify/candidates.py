"""What patterns would do to single layers, worked out from weights and inputs alone: what they save and what they lose.

Both are estimates by which layers are compared: a weight is compressed alone, and the error is that of independent
inputs: the sum of w^2 E[x^2] over the dropped weights, relative to that over all (the score of Wanda, squared).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autocompress.graph.transfer_size import deflated_bytes
from autocompress.passes.equalize.layers import canonical
from autocompress.passes.sparsify.choosing import masks_by_score, obstacle, scores_of
from autocompress.passes.sparsify.config import SparsifyConfig
from autocompress.passes.sparsify.layers import SparseLayer
from autocompress.passes.sparsify.masks import DoubleArray, Mask
from autocompress.passes.sparsify.pattern import parse

_INT8_STEPS = 127.0


@dataclass(frozen=True)
class Candidate:
    """One pattern for one layer.

    Attributes:
        layer: name of the node.
        pattern: as in a ``SparsifyConfig``.
        saved_bytes: by how much the compressed weight gets smaller.
        error: relative squared error of the layer's output.
    """

    layer: str
    pattern: str
    saved_bytes: int
    error: float


def candidates(
    layers: Mapping[str, SparseLayer],
    patterns: Sequence[str],
    criterion: str,
    norms: Mapping[str, DoubleArray],
    *,
    int8: bool,
    every: bool = False,
) -> list[Candidate]:
    """Every pattern that saves something, for every layer, from mild to strong.

    Args:
        layers: by node name.
        patterns: with a share each, or N:M.
        criterion: "magnitude" or "wanda".
        norms: node name -> norms of inputs (see ``norms``), for errors; for the criterion where it is "wanda".
        int8: whether the weights will be stored as int8 with a scale per channel, rather than as they are.
        every: whether also those are wanted that another one of the layer beats in both.
    """
    found: list[Candidate] = []
    for name, layer in layers.items():
        energies = scores_of({name: layer}, norms)[name] ** 2
        known = {name: norms[name]} if criterion == "wanda" and name in norms else {}
        scores = scores_of({name: layer}, known)
        dense_bytes, total = compressed_bytes(layer, None, int8=int8), max(float(energies.sum()), 1e-300)
        own = []
        for text in patterns:
            pattern = parse(text)
            if obstacle(layer, pattern):
                continue
            mask = masks_by_score(scores, {name: pattern}, SparsifyConfig(((name, text),), criterion))[name]
            saved_bytes = dense_bytes - compressed_bytes(layer, mask, int8=int8)
            if saved_bytes > 0:
                own.append(Candidate(name, text, saved_bytes, float(energies[~mask].sum()) / total))
        own.sort(key=lambda c: (c.error, -c.saved_bytes))
        found += own if every else _undominated(own)
    return found


def compressed_bytes(layer: SparseLayer, mask: Mask | None, *, int8: bool) -> int:
    """What a weight takes compressed.

    Args:
        layer: its layer.
        mask: of the shape of ``layer.view``, True where a weight stays; None for all.
        int8: whether it is stored as int8 with a scale per output channel, rather than as float32.
    """
    view = layer.view if mask is None else np.where(mask, layer.view, 0.0)
    if int8:
        largest = np.abs(view).max(axis=(2, 3), keepdims=True)
        view = np.rint(view * (_INT8_STEPS / np.where(largest > 0, largest, 1.0)))
    stored = np.empty(layer.values.shape)
    canonical(layer.node, stored)[...] = view
    return deflated_bytes(stored.astype(np.int8 if int8 else np.float32).tobytes())


def _undominated(own: Iterable[Candidate]) -> list[Candidate]:
    """Of those from mild to strong the ones that save more than every one that loses no more."""
    kept: list[Candidate] = []
    for candidate in own:
        if not kept or candidate.saved_bytes > kept[-1].saved_bytes:
            kept.append(candidate)
    return kept

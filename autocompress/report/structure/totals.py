"""Sums over the layers of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autocompress.report.structure.facts import LayerFacts


@dataclass(frozen=True)
class Totals:
    """Sums; a weight that several layers share counts once, its multiply-adds as often as it is used.

    Attributes:
        layers: how many.
        parameters: of their weights and biases.
        macs: multiply-adds, or None where those of any layer are unknown.
        elements: of their weights.
        nonzero: of those, not zero (NNZ).
        sparsity: share of zero elements.
    """

    layers: int
    parameters: int
    macs: int | None
    elements: int
    nonzero: int
    sparsity: float


def totals(layers: Sequence[LayerFacts]) -> Totals:
    """Sums over layers of one model."""
    own = list({layer.weight: layer for layer in layers}.values())
    macs = [layer.macs for layer in layers]
    elements, nonzero = sum(layer.elements for layer in own), sum(layer.nonzero for layer in own)
    return Totals(
        layers=len(layers),
        parameters=sum(layer.parameters for layer in own),
        macs=None if None in macs else sum(m for m in macs if m is not None),
        elements=elements,
        nonzero=nonzero,
        sparsity=1.0 - nonzero / elements if elements else 0.0,
    )

"""The methods by name, and whether one suits a layer."""

from __future__ import annotations

from collections.abc import Sequence

from autocompress.passes.decompose.layers import Layer
from autocompress.passes.decompose.method import Method
from autocompress.passes.decompose.spatial import Spatial
from autocompress.passes.decompose.svd import Svd
from autocompress.passes.decompose.tucker import Tucker2

METHODS: dict[str, Method] = {"svd": Svd(), "spatial": Spatial(), "tucker2": Tucker2()}


def why_not(layer: Layer, method: str, ranks: Sequence[int]) -> str:
    """Why decomposing a layer so would gain nothing or cannot be done; "" where it saves multiply-adds.

    Args:
        layer: to decompose.
        method: one of ``METHODS``.
        ranks: one number, or two where the method takes two.
    """
    chosen = METHODS[method]
    reason = chosen.unfit(layer)
    if reason:
        return reason
    full = chosen.full_ranks(layer)
    if any(rank > most for rank, most in zip(ranks, full, strict=True)):
        return f"rank {_text(ranks)} is above its full rank {_text(full)}"
    reason = chosen.unfit_ranks(layer, ranks)
    if reason:
        return reason
    share = chosen.relative_macs(layer, ranks)
    return "" if share < 1 else f"rank {_text(ranks)} saves nothing: {share:.2f} times the multiply-adds"


def _text(ranks: Sequence[int]) -> str:
    return "x".join(map(str, ranks))

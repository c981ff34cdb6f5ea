"""Which ranks are worth a trial: those where the price falls.

Latency falls with the rank in steps (kernels work on blocks of channels), so of all ranks on one step only the highest
is of interest, and none where the parts together cost as much as the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autocompress.passes.decompose.layers import Layer
from autocompress.passes.decompose.methods import METHODS, why_not

Ranks = tuple[int, ...]


@dataclass(frozen=True)
class RankStep:
    """A rank worth proposing.

    Attributes:
        ranks: one number, or two where the method takes two.
        latency_ms: what the parts cost together.
    """

    ranks: Ranks
    latency_ms: float


def candidate_ranks(layer: Layer, method: str, multiple: int = 8) -> tuple[Ranks, ...]:
    """Ranks that save multiply-adds, multiples of a block of channels, highest first.

    Where a method takes two ranks, they keep the proportion of the full ones.

    Args:
        layer: to decompose.
        method: one of ``METHODS``.
        multiple: block of channels; 1 where the layer's full rank is smaller.
    """
    if METHODS[method].unfit(layer):
        return ()
    full = METHODS[method].full_ranks(layer)
    block = multiple if max(full) > multiple else 1
    steps = [
        [max(1, round(f * number / max(full) / block) * block) for f in full] for number in _multiples(full, block)
    ]
    proposed = dict.fromkeys(tuple(min(r, f) for r, f in zip(ranks, full, strict=True)) for ranks in steps)
    return tuple(ranks for ranks in proposed if not why_not(layer, method, ranks))


def worthwhile_ranks(
    ranks: Sequence[Ranks], price: Callable[[Ranks], float], layer_ms: float, gain: float = 0.02
) -> tuple[RankStep, ...]:
    """Ranks that are cheaper than the layer and than every higher rank.

    Args:
        ranks: candidates, highest first.
        price: latency in ms of the parts together.
        layer_ms: latency of the layer as it is.
        gain: by how much, relatively, a step must be cheaper than the one before; less than what can be measured is
            no step.

    Returns:
        The steps, highest rank first, each the highest of its price.
    """
    steps: list[RankStep] = []
    cheapest = layer_ms
    for candidate in ranks:
        latency_ms = price(candidate)
        if latency_ms < cheapest * (1.0 - gain):
            steps.append(RankStep(candidate, latency_ms))
            cheapest = latency_ms
    return tuple(steps)


def _multiples(full: Ranks, block: int) -> range:
    highest = -(-max(full) // block) * block
    return range(highest, 0, -block)

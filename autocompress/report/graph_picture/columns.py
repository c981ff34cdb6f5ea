"""Where the layers of a long picture go on in another column, so that it is no strip of twenty screens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_TALL = 2400.0
"""Pictures of up to this height have one column, in pixels."""

_WIDTH_TO_HEIGHT = 1.4
_NEAR = 0.12
"""A column ends this share of its height earlier or later where fewer lines are cut there."""


@dataclass(frozen=True)
class Slot:
    """Where a layer stands.

    Attributes:
        column: counted from the left.
        top: below the first layer's top of its column, in pixels.
    """

    column: int
    top: float


def columns(heights: Sequence[float], crossing: Sequence[int], width: float, gap: float) -> list[Slot]:
    """Gives each layer its place, in order from top to bottom and then from left to right.

    Args:
        heights: of the layers.
        crossing: for each layer, how many lines come down to it from the layer above.
        width: of a column with the space beside it.
        gap: between layers.
    """
    tops = [sum(heights[:i]) + i * gap for i in range(len(heights))]
    total = tops[-1] + heights[-1] if heights else 0.0
    count = max(round(math.sqrt(_WIDTH_TO_HEIGHT * total / width)), 1) if total > _TALL else 1
    firsts = [0]
    for number in range(1, count):
        wanted, reach = number * total / count, _NEAR * total / count
        near = [i for i, top in enumerate(tops) if abs(top - wanted) <= reach and i > firsts[-1]]
        if near:
            firsts.append(min(near, key=lambda i: (crossing[i], abs(tops[i] - wanted))))
    column_of = [sum(first <= i for first in firsts) - 1 for i in range(len(heights))]
    return [Slot(column, tops[i] - tops[firsts[column]]) for i, column in enumerate(column_of)]

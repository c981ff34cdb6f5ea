"""The sizes that a smaller image may have."""

from __future__ import annotations

import math

_LEAST = 0.5  # of a side: a quarter of the time is left, and what a network has learnt hardly applies
_STEPS = 16  # that a side is cut into, at most


def smaller_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes that keep the proportions, then those that nearly do, then those in which one side alone is shorter.

    Networks halve their maps several times, so sides are multiples of a power of two.  Pictures want their proportions
    kept; spectrograms have two sides that mean different things.

    Args:
        height: of the image at its full size.
        width: the same.
    """
    heights, widths = _shorter(height), _shorter(width)
    step = min(_step(height), _step(width))
    if height <= width:
        kept = [(side, _nearest(step, width * side / height, width)) for side in heights]
    else:
        kept = [(_nearest(step, height * side / width, height), side) for side in widths]
    longer = [
        pair for h, w in kept for pair in ((min(h + _step(height), height), w), (h, min(w + _step(width), width)))
    ]
    alone = [*((side, width) for side in heights), *((height, side) for side in widths)]
    return [size for size in dict.fromkeys([*kept, *longer, *alone]) if size != (height, width)]


def stretch(size: tuple[int, int], full: tuple[int, int]) -> float:
    """How far the proportions of an image are changed: the absolute logarithm of the factor between its sides.

    Args:
        size: height and width of the smaller image.
        full: of the original.
    """
    return abs(math.log(size[0] * full[1] / (size[1] * full[0])))


def _shorter(side: int) -> list[int]:
    """Lengths below that of a side, from long to short."""
    step = _step(side)
    return [length for length in range((side - 1) // step * step, 0, -step) if length >= _LEAST * side]


def _step(side: int) -> int:
    step = 2
    while step * _STEPS < side:
        step *= 2
    return step


def _nearest(step: int, length: float, most: int) -> int:
    return min(max(round(length / step), 1) * step, most)

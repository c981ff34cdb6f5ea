"""The sizes that a smaller image may have."""

from __future__ import annotations

from autocompress.passes.downsample.config import DownsampleConfig
from autocompress.passes.downsample.image import Image

_LEAST = 0.5  # of a side: a quarter of the time is left, and what a network has learnt hardly applies
_STEPS = 16  # that a side is cut into, at most


def smaller_sizes(image: Image) -> list[DownsampleConfig]:
    """Sizes that keep the proportions, from large to small, then those in which one side alone is shorter.

    Networks halve their maps several times, so sides are multiples of a power of two.  Pictures mostly want their
    proportions kept; spectrograms have two sides that mean different things.

    Args:
        image: at its full size.
    """
    heights, widths = _shorter(image.height), _shorter(image.width)
    step = min(_step(image.height), _step(image.width))
    found: dict[DownsampleConfig, None] = {}
    if image.height <= image.width:
        for height in heights:
            found[DownsampleConfig(height, _nearest(step, image.width * height / image.height, image.width))] = None
    else:
        for width in widths:
            found[DownsampleConfig(_nearest(step, image.height * width / image.width, image.height), width)] = None
    found.update({DownsampleConfig(height, image.width): None for height in heights})
    found.update({DownsampleConfig(image.height, width): None for width in widths})
    return list(found)


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

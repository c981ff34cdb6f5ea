"""Axes of many small charts, the same for all, so that what they show can be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autocompress.report.curves import LEAST_DAMAGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FAR_APART = 10.0
"""Losses whose largest is so many times the median get an axis on which both can be read."""


def same_scales(panels: Sequence[Sequence[Axes]]) -> None:
    """Gives all panels the same axes, logarithmic for damage.

    Args:
        panels: the charts of each place from top to bottom: accuracy lost, where it was measured, then damage.
    """
    for part in zip(*panels, strict=True):
        limits = [axes.get_ylim() for axes in part]
        for axes in part:
            axes.set_xlim(0, 100)
            axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    for parts in panels:
        parts[-1].set_yscale("log")
        parts[-1].set_ylim(_damage_limits(panels))
    if any(len(parts) > 1 for parts in panels):
        _scale_losses([parts[0] for parts in panels])


def _scale_losses(part: Sequence[Axes]) -> None:
    """Gives losses of accuracy an axis on which small ones stay visible beside one that is far larger."""
    found = np.abs([value for axes in part for value in _drawn(axes)])
    if not found.size or found.max() <= _FAR_APART * np.median(found):
        return
    # A whole power of ten, so that the ticks of the two parts of the axis keep apart.
    linear = 10.0 ** math.ceil(math.log10(max(float(np.median(found)), float(found.max()) / 100)))
    for axes in part:
        axes.set_yscale("symlog", linthresh=linear)
        axes.set_ylim(min(axes.get_ylim()[0], -linear / 2), float(found.max()) * 1.6)
        axes.yaxis.set_major_formatter("{x:g}")


def _drawn(axes: Axes) -> list[float]:
    values: list[Any] = [line.get_ydata() for line in axes.get_lines()]
    return [float(value) for own in values for value in own if math.isfinite(value)]


def _damage_limits(panels: Sequence[Sequence[Axes]]) -> tuple[float, float]:
    finite = [value for parts in panels for value in _drawn(parts[-1])]
    return (min(finite) / 1.6, max(finite) * 1.6) if finite else (LEAST_DAMAGE, 1.0)

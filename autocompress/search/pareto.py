"""The Front: which points no other point beats in both accuracy drop and latency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the non-dominated points (both coordinates are minimised), by rising first coordinate.

    Of several equal points only the first is kept.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], points[i][1], i))
    kept: list[int] = []
    best = float("inf")
    for i in order:
        if points[i][1] < best:
            kept.append(i)
            best = points[i][1]
    return kept


def hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Area dominated by the points and bounded by ``reference`` (both coordinates are minimised)."""
    inside = [p for p in points if p[0] < reference[0] and p[1] < reference[1]]
    area, ceiling = 0.0, reference[1]
    for i in front(inside):
        x, y = inside[i]
        area += (reference[0] - x) * (ceiling - y)
        ceiling = y
    return area


def improvements(
    candidates: npt.NDArray[np.float64], points: Sequence[tuple[float, float]], reference: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Growth of the hypervolume that each candidate alone would bring, of shape (candidates,)."""
    kept = [points[i] for i in front(points)]
    base = hypervolume(kept, reference)
    return np.array([hypervolume([*kept, (float(x), float(y))], reference) - base for x, y in candidates])

"""Sensitivity curves as documents hold them, read for pictures: what is lost against how much is taken away."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

LEAST_DAMAGE = 1e-6
"""Damages below this are drawn at it: a logarithmic axis has no zero."""


def removed(curve: Row, point: Row) -> float:
    """Share of the channels, or of the full rank, that a point takes away."""
    return 1.0 - float(point["kept"]) / float(curve["full"])


def label(curve: Row) -> str:
    """How a curve is called: its place, and its method or criterion."""
    how = curve["method"] or curve["criterion"]
    return f"{curve['name']} ({how})" if how else str(curve["name"])


def drawn_damage(point: Row) -> float | None:
    """The damage where a logarithmic axis shows it; None where there is none or the outputs were not finite."""
    damage = point["damage"]
    return None if damage is None or not math.isfinite(damage) else max(float(damage), LEAST_DAMAGE)


def by_place(curves: Sequence[Row]) -> dict[str, list[Row]]:
    """Curves of the same group or layer together, the most sensitive place first."""
    places: dict[str, list[Row]] = {}
    for curve in curves:
        places.setdefault(str(curve["name"]), []).append(curve)
    return dict(sorted(places.items(), key=lambda item: -max(map(steepness, item[1]))))


def steepness(curve: Row) -> float:
    """Largest damage per share taken away, by which places are compared; infinite where outputs were not finite."""
    found = []
    for point in curve["points"]:
        share, damage = removed(curve, point), drawn_damage(point)
        found.append(math.inf if damage is None else damage / max(share, 1e-9))
    return max(found, default=0.0)

"""Sensitivity curves: what a group of channels loses by width, a layer by rank, a residual branch when it goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autocompress.passes.decompose.config import Rank, ranks_of
from autocompress.recipe.recipe import Recipe
from autocompress.search.stems.options import BRANCH, Option, removed_units


@dataclass(frozen=True)
class CurvePoint:
    """One choice at one place, everything else as it was.

    Attributes:
        choice: ratio of channels removed, or rank.
        kept: channels, or the largest rank, that stay.
        saved_ms: by how much the model gets faster, by the estimator.
        damage: at the network's output, without labels (see ``evaluate.damage``); of those of a search see
            ``options.Option``, of others with nothing recovered.
        compensated: damage once the layers that read the channels are solved anew; None where it was not asked for.
        drop: accuracy lost, of channels once those layers are solved anew; None where none was measured.
        energy: share of the squared singular values that a rank keeps (the smallest, where there are two); None for
            channels, and where it was not asked for.
        chosen: whether the best recipe takes this choice here.
    """

    choice: float | Rank
    kept: int
    saved_ms: float | None
    damage: float
    compensated: float | None = None
    drop: float | None = None
    energy: float | None = None
    chosen: bool = False


@dataclass(frozen=True)
class Curve:
    """Points of one place, from mild to strong.

    Attributes:
        name: of the group of channels, or of the layer.
        method: of decomposition; "" for channels, "branch" for a branch that goes as a whole.
        criterion: by which channels go; "" for ranks and branches.
        full: channels, or the full rank.
        points: from mild to strong.
    """

    name: str
    method: str
    criterion: str
    full: int
    points: tuple[CurvePoint, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def kept_of(choice: float | Rank, full: int) -> int:
    """Channels that a ratio leaves, or the largest number of a rank."""
    return full - removed_units(full, choice) if isinstance(choice, float) else max(ranks_of(choice))


def curves_of(options: Iterable[Option], criterion: str, best: Recipe | None = None) -> list[Curve]:
    """The curves that a search has measured on its way.

    Args:
        options: with price and damage.
        criterion: by which channels went.
        best: the recipe of the result, whose choices are marked.
    """
    chosen = _choices(best)
    places: dict[tuple[str, str, int], list[CurvePoint]] = {}
    for option in options:
        place = option.place
        taken = option.choice == chosen.get((place.method, place.name))
        point = CurvePoint(
            option.choice, kept_of(option.choice, place.full), option.saved_ms, option.damage, chosen=taken
        )
        places.setdefault((place.name, place.method, place.full), []).append(point)
    return [
        Curve(name, method, "" if method else criterion, full, ordered(points))
        for (name, method, full), points in places.items()
    ]


def ordered(points: Sequence[CurvePoint]) -> tuple[CurvePoint, ...]:
    """From mild to strong."""
    return tuple(sorted(points, key=lambda point: -point.kept))


def _choices(recipe: Recipe | None) -> Mapping[tuple[str, str], float | Rank]:
    """(method, name) -> what a recipe does there."""
    found: dict[tuple[str, str], float | Rank] = {}
    if recipe is not None and recipe.prune is not None:
        found |= {("", name): ratio for name, ratio in recipe.prune.ratios}
        found |= {(BRANCH, name): 1.0 for name in recipe.prune.branches}
    if recipe is not None and recipe.decompose is not None:
        found |= {(method, name): rank for name, method, rank in recipe.decompose.layers}
    return found

"""What may be done to one place of a model: widths of a group of channels, ranks of a layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from autocompress.passes.decompose import DecomposeConfig
from autocompress.passes.decompose.config import Rank
from autocompress.passes.prune import PruneConfig
from autocompress.recipe.recipe import Recipe


@dataclass(frozen=True)
class Place:
    """A group of channels, or a layer with a method of decomposition, and what may be done to it.

    Attributes:
        name: of the group or the node.
        method: of decomposition; "" for a group that loses channels.
        full: channels, or the full rank.
        choices: ratios of channels to remove, or ranks, from mild to strong.
    """

    name: str
    method: str
    full: int
    choices: tuple[float | Rank, ...]

    @property
    def layer(self) -> tuple[str, str]:
        """What can be done only once: a group is pruned to one width, a layer decomposed in one way."""
        return ("decompose" if self.method else "prune", self.name)


@dataclass(frozen=True)
class Option:
    """One choice at one place.

    Attributes:
        place: where.
        choice: ratio or rank.
        saved_ms: by how much the model gets faster.
        damage: at the output, with nothing recovered.
    """

    place: Place
    choice: float | Rank
    saved_ms: float = 0.0
    damage: float = 0.0


def stem_of(options: Iterable[Option], criterion: str) -> Recipe:
    """The stem in which several places are changed, with nothing recovered.

    Args:
        options: at different places.
        criterion: by which channels go.
    """
    ratios: list[tuple[str, float]] = []
    layers: list[tuple[str, str, Rank]] = []
    for option in options:
        if option.place.method:
            assert not isinstance(option.choice, float)
            layers.append((option.place.name, option.place.method, option.choice))
        else:
            assert isinstance(option.choice, float)
            ratios.append((option.place.name, option.choice))
    stem = Recipe()
    if ratios:
        stem = replace(stem, prune=PruneConfig(tuple(ratios), criterion=criterion))
    if layers:
        stem = replace(stem, decompose=DecomposeConfig(tuple(layers)))
    return stem


def thinned(choices: Iterable[float | Rank], most: int) -> tuple[float | Rank, ...]:
    """At most so many of them, evenly, the strongest always among them."""
    listed = list(choices)
    if len(listed) <= most:
        return tuple(listed)
    step = len(listed) / most
    return tuple(listed[round((i + 1) * step) - 1] for i in range(most))

"""What may be done to one place of a model: widths of a group of channels, ranks of a layer, a branch that goes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from autocompress.passes.decompose import DecomposeConfig
from autocompress.passes.decompose.config import Rank
from autocompress.passes.prune import PruneConfig
from autocompress.recipe.recipe import Recipe

BRANCH = "branch"


@dataclass(frozen=True)
class Place:
    """A group of channels, a layer with a method of decomposition, or a residual branch, and what may be done to it.

    Attributes:
        name: of the group or the node.
        method: of decomposition; "" for a group that loses channels, "branch" for a branch that goes as a whole.
        full: channels, or the full rank.
        choices: ratios of channels to remove, or ranks, from mild to strong.
        follows: whether sizes of executed operators are known for every width (see ``shapes``).
        within: names of the other groups, layers and branches that are gone with a branch.
    """

    name: str
    method: str
    full: int
    choices: tuple[float | Rank, ...]
    follows: bool = False
    within: frozenset[str] = frozenset()

    @property
    def layer(self) -> tuple[str, str]:
        """What can be done only once: a group is pruned to one width, a layer decomposed in one way."""
        step = self.method if self.method == BRANCH else "decompose" if self.method else "prune"
        return (step, self.name)


@dataclass(frozen=True)
class Option:
    """One choice at one place.

    Attributes:
        place: where.
        choice: ratio or rank.
        saved_ms: by how much the model gets faster, everything else at its full size.
        damage: at the output; of channels that go once the layers that read them are solved anew, of a decomposed layer
            as it is.
    """

    place: Place
    choice: float | Rank
    saved_ms: float = 0.0
    damage: float = 0.0

    @property
    def removed(self) -> int:
        """Units that go; 0 where none do."""
        if self.place.method or not isinstance(self.choice, float):
            return 0
        return removed_units(self.place.full, self.choice)


def removed_units(full: int, ratio: float) -> int:
    """How many of a group's units a ratio removes, as the prune step counts them."""
    return min(math.floor(full * ratio + 0.5), full)


def stem_of(options: Iterable[Option], criterion: str) -> Recipe:
    """The stem in which several places are changed, with nothing recovered.

    Args:
        options: at different places.
        criterion: by which channels go.
    """
    ratios: list[tuple[str, float]] = []
    layers: list[tuple[str, str, Rank]] = []
    branches: list[str] = []
    for option in options:
        if option.place.method == BRANCH:
            branches.append(option.place.name)
        elif option.place.method:
            assert not isinstance(option.choice, float)
            layers.append((option.place.name, option.place.method, option.choice))
        else:
            assert isinstance(option.choice, float)
            ratios.append((option.place.name, option.choice))
    stem = Recipe()
    if ratios or branches:
        stem = replace(stem, prune=PruneConfig(tuple(ratios), criterion=criterion, branches=tuple(branches)))
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

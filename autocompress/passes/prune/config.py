"""What a pruning step does, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autocompress.errors import RecipeError
from autocompress.passes.config_rows import refuse_unknown, with_pairs
from autocompress.passes.prune.criteria import BATCH_NORM_SCALE, CRITERIA

MOST_ROUNDS = 100


@dataclass(frozen=True)
class PruneConfig:
    """Configuration of channel pruning.

    Attributes:
        ratios: (group name, fraction of its units to remove) for every group that loses some, sorted by name.
        criterion: which units go, one of ``CRITERIA``.
        rounds: in how many rounds they go; between two rounds, what is left is recovered in closed form, and the
            criterion looks at the recovered weights.
        branches: names of Adds whose residual branch goes before channels do (see ``branches``), sorted.

    Raises:
        RecipeError: when a field has a value that it cannot have.
    """

    ratios: tuple[tuple[str, float], ...] = ()
    criterion: str = "l2"
    rounds: int = 1
    branches: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise RecipeError(f"prune step: criterion is {self.criterion!r}; it must be one of {', '.join(CRITERIA)}")
        if type(self.rounds) is not int or not 1 <= self.rounds <= MOST_ROUNDS:
            raise RecipeError(
                f"prune step: rounds is {self.rounds!r}; it must be a whole number from 1 to {MOST_ROUNDS}"
            )
        if self.rounds > 1 and self.criterion == BATCH_NORM_SCALE:
            raise RecipeError(
                f"prune step: the criterion {BATCH_NORM_SCALE!r} says the same in every round; give 1 round, or "
                "choose another criterion"
            )
        for name, ratio in self.ratios:
            if not isinstance(name, str) or not name:
                raise RecipeError(f"prune step: {name!r} is no name of a group")
            if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0.0 <= ratio <= 1.0:
                raise RecipeError(f"prune step: ratio of {name!r} is {ratio!r}; it must be a number in [0, 1)")
            if ratio == 1.0:
                raise RecipeError(f"prune step: a ratio of 1 would empty the layer {name!r}; choose a smaller one")
        names = [name for name, _ in self.ratios]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise RecipeError(f"prune step: group {twice!r} is listed twice; keep one of the two")
        listed = isinstance(self.branches, (list, tuple))
        if not listed or not all(isinstance(name, str) and name for name in self.branches):
            raise RecipeError(f"prune step: branches is {self.branches!r}; it must be a list of names of Add nodes")
        object.__setattr__(self, "branches", tuple(sorted(set(self.branches))))
        # Ratios of zero are left out, so that equal choices have equal hashes.
        real = sorted((name, float(ratio)) for name, ratio in self.ratios if ratio > 0)
        object.__setattr__(self, "ratios", tuple(real))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; what came later is left out at its default, so that older recipes keep their hashes."""
        row: dict[str, Any] = {"ratios": dict(self.ratios), "criterion": self.criterion}
        if self.rounds != 1:
            row["rounds"] = self.rounds
        return {**row, "branches": list(self.branches)} if self.branches else row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> PruneConfig:
        """Inverse of ``to_dict``.

        Raises:
            RecipeError: on an unknown field or value.
        """
        refuse_unknown(cls, row, "prune")
        return cls(**with_pairs(row, "ratios", "prune", "group names to numbers"))

"""What a pruning step does, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autocompress.errors import RecipeError
from autocompress.passes.config_rows import refuse_unknown, with_pairs
from autocompress.passes.prune.criteria import CRITERIA


@dataclass(frozen=True)
class PruneConfig:
    """Configuration of channel pruning.

    Attributes:
        ratios: (group name, fraction of its units to remove) for every group that loses some, sorted by name.
        criterion: which units go, one of ``CRITERIA``.

    Raises:
        RecipeError: when a field has a value that it cannot have.
    """

    ratios: tuple[tuple[str, float], ...] = ()
    criterion: str = "l2"

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise RecipeError(f"prune step: criterion is {self.criterion!r}; it must be one of {', '.join(CRITERIA)}")
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
        # Ratios of zero are left out, so that equal choices have equal hashes.
        real = sorted((name, float(ratio)) for name, ratio in self.ratios if ratio > 0)
        object.__setattr__(self, "ratios", tuple(real))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"ratios": dict(self.ratios), "criterion": self.criterion}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> PruneConfig:
        """Inverse of ``to_dict``.

        Raises:
            RecipeError: on an unknown field or value.
        """
        refuse_unknown(cls, row, "prune")
        return cls(**with_pairs(row, "ratios", "prune", "group names to numbers"))

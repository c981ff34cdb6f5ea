"""What a decomposition step does, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autocompress.errors import RecipeError
from autocompress.passes.config_rows import refuse_unknown
from autocompress.passes.decompose.methods import METHODS

Rank = int | tuple[int, int]


@dataclass(frozen=True)
class DecomposeConfig:
    """Configuration of low-rank decomposition.

    Attributes:
        layers: (node name, method, rank) of every layer that is decomposed, sorted by name; the rank is a number, or
            the pair (input rank, output rank) where the method is "tucker2".
        whitened: whether the factors are the best for the inputs that the layer gets, rather than for the weights.

    Raises:
        RecipeError: when a field has a value that it cannot have.
    """

    layers: tuple[tuple[str, str, Rank], ...] = ()
    whitened: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.whitened, bool):
            raise RecipeError(f"decompose step: whitened is {self.whitened!r}; it must be True or False")
        rows = [_checked(*row) for row in self.layers]
        names = [name for name, _, _ in rows]
        for name in names:
            if names.count(name) > 1:
                raise RecipeError(f"decompose step: layer {name!r} is listed twice; keep one of the two")
        object.__setattr__(self, "layers", tuple(sorted(rows, key=lambda row: row[0])))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        rows = [[name, method, rank if isinstance(rank, int) else list(rank)] for name, method, rank in self.layers]
        return {"layers": rows, "whitened": self.whitened}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> DecomposeConfig:
        """Inverse of ``to_dict``.

        Raises:
            RecipeError: on an unknown field or value.
        """
        refuse_unknown(cls, row, "decompose")
        layers = row.get("layers", [])
        if not isinstance(layers, (list, tuple)) or not all(
            isinstance(r, (list, tuple)) and len(r) == 3 for r in layers
        ):
            raise RecipeError("decompose step: layers must be a list of [name, method, rank]")
        parsed = tuple((n, m, tuple(r) if isinstance(r, list) else r) for n, m, r in layers)
        return cls(parsed, row.get("whitened", True))


def ranks_of(rank: Rank) -> tuple[int, ...]:
    """A rank as a tuple of numbers, whatever the method."""
    return (rank,) if isinstance(rank, int) else rank


def _checked(name: Any, method: Any, rank: Any) -> tuple[str, str, Rank]:
    if not isinstance(name, str) or not name:
        raise RecipeError(f"decompose step: {name!r} is no name of a layer")
    if method not in METHODS:
        raise RecipeError(f"decompose step: method of {name!r} is {method!r}; it must be one of {', '.join(METHODS)}")
    numbers = rank if isinstance(rank, tuple) else (rank,)
    wanted = METHODS[method].rank_count
    if len(numbers) != wanted or any(type(number) is not int or number < 1 for number in numbers):
        form = "a pair of numbers" if wanted == 2 else "a number"
        raise RecipeError(f"decompose step: rank of {name!r} is {rank!r}; {method!r} takes {form} from 1 up")
    return name, method, rank

"""What a sparsity step does, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autocompress.errors import RecipeError
from autocompress.passes.config_rows import refuse_unknown, with_pairs
from autocompress.passes.sparsify.pattern import Share, parse

MAGNITUDE = "magnitude"
WANDA = "wanda"
SPARSEGPT = "sparsegpt"
CRITERIA = (MAGNITUDE, WANDA, SPARSEGPT)


@dataclass(frozen=True)
class SparsifyConfig:
    """Configuration of sparsity.

    Attributes:
        layers: (node name, pattern) of every layer that becomes sparse, sorted by name; patterns as in
            ``pattern.parse``.
        criterion: "magnitude" (needs no samples), "wanda" or "sparsegpt".
        global_sparsity: share of zeros over all layers whose pattern gives no share; None where each gives its own.

    Raises:
        RecipeError: when a field has a value that it cannot have.
    """

    layers: tuple[tuple[str, str], ...] = ()
    criterion: str = MAGNITUDE
    global_sparsity: float | None = None

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise RecipeError(
                f"sparsify step: criterion is {self.criterion!r}; it must be one of {', '.join(CRITERIA)}"
            )
        share = self.global_sparsity
        if share is not None and (isinstance(share, bool) or not isinstance(share, float) or not 0 < share < 1):
            raise RecipeError(f"sparsify step: global_sparsity is {share!r}; it must be above 0 and below 1")
        rows = dict(self.layers)
        if len(rows) != len(self.layers):
            raise RecipeError("sparsify step: a layer is listed twice; keep one pattern for each")
        for name, text in rows.items():
            self._check(name, text)
        object.__setattr__(self, "layers", tuple(sorted(rows.items())))

    def _check(self, name: str, text: str) -> None:
        if not isinstance(name, str) or not isinstance(text, str):
            raise RecipeError(f"sparsify step: layers must be pairs of texts, not {name!r} and {text!r}")
        pattern = parse(text)
        is_open = isinstance(pattern, Share) and pattern.sparsity is None
        if is_open and self.global_sparsity is None:
            raise RecipeError(
                f"sparsify step: {text!r} of {name!r} gives no share; write {text}@0.5 or a global_sparsity"
            )
        one_by_one = isinstance(pattern, Share) and (pattern.part != "unstructured" or is_open)
        if self.criterion == SPARSEGPT and one_by_one:
            raise RecipeError(f"sparsify step: sparsegpt knows N:M and unstructured@..., not {text!r} of {name!r}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "layers": dict(self.layers),
            "criterion": self.criterion,
            "global_sparsity": self.global_sparsity,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> SparsifyConfig:
        """Inverse of ``to_dict``.

        Raises:
            RecipeError: on an unknown field or value.
        """
        refuse_unknown(cls, row, "sparsify")
        return cls(**with_pairs(row, "layers", "sparsify", "node names to patterns"))

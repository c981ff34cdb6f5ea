"""Features of a recipe for the accuracy predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from autocompress.passes.quantize import PRECISIONS, QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.equalizations import EQUALIZATION, name_of
from autocompress.search.prices import OPTIONS

FloatArray = npt.NDArray[np.float64]
_SEGMENTS = 8


class RecipeFeatures:
    """Turns recipes into rows of numbers.

    The columns are: log10 of the added-up damage; log10 of the largest single damage; share of units in each precision
    but fp32; log10 damage of each eighth of the graph; log10 of the scheme's own damage relative to the scheme that
    sensitivities were measured with; and one 0/1 column per value of each scheme choice and of the equalization.
    """

    def __init__(
        self, damage: FloatArray, scheme_values: Sequence[tuple[str, object]], scheme_damage: dict[str, float]
    ) -> None:
        """Stores what rows are made from.

        Args:
            damage: of shape (units, options), inf where not available.
            scheme_values: (field, value) pairs that get a column; the field ``EQUALIZATION`` has names as values.
            scheme_damage: scheme key (see ``scheme_key``) -> relative damage of the whole model under it.
        """
        self._damage = np.where(np.isfinite(damage), damage, 0.0)
        self._scheme_values = tuple(scheme_values)
        self._scheme_damage = scheme_damage

    def set_relative_damage(self, recipe: Recipe, damage: float) -> None:
        """Says how damaging the scheme of a recipe is, relative to the one that sensitivities were measured with."""
        self._scheme_damage[scheme_key(recipe)] = damage

    def relative_damage(self, recipe: Recipe) -> float:
        """How damaging the scheme of a recipe is; 1 where it is not known."""
        return self._scheme_damage.get(scheme_key(recipe), 1.0)

    def rows(self, options: npt.NDArray[np.int64], recipes: Sequence[Recipe]) -> FloatArray:
        """Features of shape (recipes, columns)."""
        units = self._damage.shape[0]
        damage = self._damage[np.arange(units), options]
        segments = np.array_split(np.arange(units), min(_SEGMENTS, units))
        columns = [
            _log(damage.sum(axis=1)),
            _log(damage.max(axis=1)),
            *((options == option).mean(axis=1) for option in range(1, len(OPTIONS))),
            *(_log(damage[:, part].sum(axis=1)) for part in segments),
            np.array([_log(np.array(self.relative_damage(recipe))) for recipe in recipes]),
            *(
                np.array([float(scheme_value(recipe, name) == value) for recipe in recipes])
                for name, value in self._scheme_values
            ),
        ]
        return np.stack(columns, axis=1).astype(np.float64)


def scheme_value(recipe: Recipe, name: str) -> object:
    """The value of one scheme choice."""
    if name == EQUALIZATION:
        return name_of(recipe.equalize)
    return getattr(recipe.quantize or QuantizeConfig(), name)


def scheme_key(recipe: Recipe) -> str:
    """Identity of the choices of a recipe without its precisions."""
    config = recipe.quantize or QuantizeConfig()
    return replace(recipe, quantize=replace(config, precision=PRECISIONS[0], exceptions=())).hash


def _log(values: FloatArray) -> FloatArray:
    return np.asarray(np.log10(np.maximum(values, 1e-12)))

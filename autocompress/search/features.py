"""Features of a recipe for the accuracy predictor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autocompress.passes.quantize import INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.search.prices import OPTIONS

FloatArray = npt.NDArray[np.float64]
_SEGMENTS = 8


class RecipeFeatures:
    """Turns recipes into rows of numbers.

    The columns are: log10 of the added-up damage; log10 of the largest single damage; shares of units in int8 and in
    dynamic int8; log10 damage of each eighth of the graph; log10 of the scheme's own damage relative to the scheme that
    sensitivities were measured with; and one 0/1 column per value of each scheme choice.
    """

    def __init__(
        self, damage: FloatArray, scheme_values: Sequence[tuple[str, object]], scheme_damage: dict[str, float]
    ) -> None:
        """Stores what rows are made from.

        Args:
            damage: of shape (units, options), inf where not available.
            scheme_values: (field, value) pairs that get a column.
            scheme_damage: scheme key (see ``scheme_key``) -> relative damage of the whole model under it.
        """
        self._damage = np.where(np.isfinite(damage), damage, 0.0)
        self._scheme_values = tuple(scheme_values)
        self._scheme_damage = scheme_damage

    def rows(self, options: npt.NDArray[np.int64], configs: Sequence[QuantizeConfig]) -> FloatArray:
        """Features of shape (recipes, columns)."""
        units = self._damage.shape[0]
        damage = self._damage[np.arange(units), options]
        segments = np.array_split(np.arange(units), min(_SEGMENTS, units))
        columns = [
            _log(damage.sum(axis=1)),
            _log(damage.max(axis=1)),
            (options == OPTIONS.index(INT8)).mean(axis=1),
            (options == OPTIONS.index(INT8_DYNAMIC)).mean(axis=1),
            *(_log(damage[:, part].sum(axis=1)) for part in segments),
            np.array([_log(np.array(self._scheme_damage.get(scheme_key(c), 1.0))) for c in configs]),
            *(np.array([float(getattr(c, name) == value) for c in configs]) for name, value in self._scheme_values),
        ]
        return np.stack(columns, axis=1).astype(np.float64)


def scheme_key(config: QuantizeConfig) -> str:
    """Identity of a configuration without its precisions."""
    parts = config.to_dict()
    return "|".join(f"{name}={parts[name]}" for name in sorted(parts) if name not in ("precision", "exceptions"))


def _log(values: FloatArray) -> FloatArray:
    return np.asarray(np.log10(np.maximum(values, 1e-12)))

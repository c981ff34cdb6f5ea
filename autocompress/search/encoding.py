"""Recipes as Optuna parameters and back: one categorical per scheme choice and one per region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autocompress.passes.quantize import FP32, INT8, QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.equalizations import EQUALIZATION, NONE, config_of, name_of
from autocompress.search.prices import OPTIONS
from autocompress.search.regions import Region
from autocompress.search.space import SearchSpace

if TYPE_CHECKING:
    from optuna.distributions import CategoricalDistribution
    from optuna.trial import BaseTrial

UNIT_PREFIX = "precision/"
MODEL_PRECISION = "precision"
Params = dict[str, Any]


class Encoding:
    """Maps the choices of one search space for one model to parameters.

    Attributes:
        choices: parameter name -> allowed values, only for parameters with more than one value.
        constants: parameter name -> its single value.
    """

    def __init__(self, space: SearchSpace, regions: Sequence[Region], stem: Recipe | None = None) -> None:
        """Stores the parameters.

        Args:
            space: the search space.
            regions: the regions of the stem.
            stem: steps that every recipe begins with; the original, folded, unless given.
        """
        self._stem = stem or Recipe()
        self._regions = tuple(regions)
        self._per_unit = space.per == "unit"
        values: dict[str, tuple[Any, ...]] = {**space.scheme, EQUALIZATION: space.equalization}
        self._scheme = tuple(space.scheme)
        if self._per_unit:
            for region in regions:
                values[UNIT_PREFIX + region.name] = region_options(region, space)
        else:
            values[MODEL_PRECISION] = space.precision
        self.choices = {name: v for name, v in values.items() if len(v) > 1}
        self.constants = {name: v[0] for name, v in values.items() if len(v) == 1}

    def suggest(self, trial: BaseTrial, in_play: Mapping[str, tuple[Any, ...]]) -> Params:
        """Asks an Optuna trial for every parameter.

        Args:
            trial: the trial.
            in_play: parameter name -> values to choose from, where fewer than the space allows.
        """
        return {
            name: trial.suggest_categorical(name, list(in_play.get(name, values)))
            for name, values in self.choices.items()
        }

    def distributions(self, params: Params) -> dict[str, CategoricalDistribution]:
        """Optuna distributions of ``params``, always the whole space's, as Optuna's storages require."""
        from optuna.distributions import CategoricalDistribution

        return {name: CategoricalDistribution(self.choices[name]) for name in params}

    def to_recipe(self, params: Params) -> Recipe:
        """The recipe that parameters stand for."""
        full = {**self.constants, **params}
        scheme = {name: full[name] for name in self._scheme}
        equalize = config_of(full.get(EQUALIZATION, NONE))
        if not self._per_unit:
            return Recipe(QuantizeConfig(precision=full[MODEL_PRECISION], **scheme), equalize=equalize).on(self._stem)
        precisions: dict[str, str] = {}
        for region in self._regions:
            precisions |= region.precisions(full[UNIT_PREFIX + region.name])
        config = QuantizeConfig(precision=INT8, **scheme).with_precisions(precisions)
        return Recipe(config, equalize=equalize).on(self._stem)

    def to_params(self, recipe: Recipe) -> Params:
        """The parameters that stand for a recipe (only those with a choice); what polishes it has none."""
        config = recipe.quantize
        assert config is not None
        params: Params = {}
        for name in self.choices:
            if name.startswith(UNIT_PREFIX):
                params[name] = config.precision_of(name[len(UNIT_PREFIX) :])
            elif name == MODEL_PRECISION:
                params[name] = config.precision
            elif name == EQUALIZATION:
                params[name] = name_of(recipe.equalize)
            else:
                params[name] = getattr(config, name)
        return params


def region_options(region: Region, space: SearchSpace) -> tuple[str, ...]:
    """Precisions that a region may have in a space; fp32 where none of the space's fits."""
    return tuple(p for p in space.precision if p in region.options) or (FP32,)


def allowed_options(regions: Sequence[Region], space: SearchSpace) -> npt.NDArray[np.bool_]:
    """Of shape (regions, options): which of all options a space leaves to each region."""
    return np.array([[option in region_options(region, space) for option in OPTIONS] for region in regions])

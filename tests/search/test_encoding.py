"""Recipes to Optuna parameters and back."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import optuna
import pytest

from autocompress.passes.quantize import FP32, INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.encoding import Encoding, region_options
from autocompress.search.regions import Region
from autocompress.search.space import SCHEME_CHOICES, parse_space

sys.path.append(str(Path(__file__).parent))
from small_problems import region, space, unit

SILU = Region((unit("conv"), unit("sigmoid", "Sigmoid", ("conv_out",), weight=False)))
REGIONS = (SILU, region("product", "MatMul"), region("second"))


def test_parameters_are_only_what_can_be_chosen() -> None:
    encoding = Encoding(space(), REGIONS)
    assert encoding.choices == {
        "activation_range": ("min_max", "percentile"),
        "bias_correction": (True, False),
        "precision/conv": (FP32, INT8),
        "precision/product": (FP32, INT8, INT8_DYNAMIC),
        "precision/second": (FP32, INT8),
    }
    first = {name: values[0] for name, values in SCHEME_CHOICES.items() if name not in encoding.choices}
    assert encoding.constants == {**first, "equalization": "none"}


@pytest.mark.parametrize("per", ["unit", "model"])
def test_every_point_of_a_space_comes_back(per: str) -> None:
    encoding = Encoding(space(per), REGIONS)
    seen = set()
    for values in itertools.product(*encoding.choices.values()):
        params = dict(zip(encoding.choices, values, strict=True))
        recipe = encoding.to_recipe(params)
        assert encoding.to_params(recipe) == params
        assert Recipe.from_steps(recipe.to_steps()) == recipe
        seen.add(recipe.hash)
    assert len(seen) == (48 if per == "unit" else 12)


def test_a_region_carries_its_units_along() -> None:
    encoding = Encoding(space(), REGIONS)
    params = {
        "activation_range": "percentile",
        "bias_correction": False,
        "precision/conv": INT8,
        "precision/product": INT8_DYNAMIC,
        "precision/second": FP32,
    }
    config = encoding.to_recipe(params).quantize
    assert config is not None
    found = {name: config.precision_of(name) for name in ("conv", "sigmoid", "product", "second")}
    assert found == {"conv": INT8, "sigmoid": INT8, "product": INT8_DYNAMIC, "second": FP32}
    assert (config.activation_range, config.bias_correction, config.weight_dtype) == ("percentile", False, "int8")
    config = encoding.to_recipe({**params, "precision/conv": FP32}).quantize
    assert config is not None
    assert config.precision_of("sigmoid") == FP32


def test_options_that_a_region_lacks_fall_away() -> None:
    only_dynamic = parse_space("d", {"precision": {"options": [INT8_DYNAMIC], "per": "unit"}})
    assert region_options(region("conv"), only_dynamic) == (FP32,)
    assert region_options(region("product", "MatMul"), only_dynamic) == (INT8_DYNAMIC,)
    config = Encoding(only_dynamic, REGIONS).to_recipe({}).quantize
    assert config is not None
    assert (config.precision_of("conv"), config.precision_of("product")) == (FP32, INT8_DYNAMIC)


def test_optuna_is_asked_within_what_is_in_play() -> None:
    encoding = Encoding(space(), REGIONS)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = [encoding.suggest(study.ask(), {"precision/product": (FP32,)}) for _ in range(20)]
    assert {params["precision/product"] for params in asked} == {FP32}
    assert {params["precision/conv"] for params in asked} == {FP32, INT8}
    assert all(set(params) == set(encoding.choices) for params in asked)


def test_trials_can_be_added_to_a_stock_study() -> None:
    encoding = Encoding(space(), REGIONS)
    recipe = Recipe(QuantizeConfig(activation_range="percentile").with_precisions({"second": FP32}))
    params = encoding.to_params(recipe)
    study = optuna.create_study()
    study.add_trial(
        optuna.trial.create_trial(params=params, distributions=encoding.distributions(params), values=[0.5])
    )
    assert study.trials[0].params == params
    assert encoding.to_recipe(study.trials[0].params) == recipe

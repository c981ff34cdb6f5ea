"""Recipes in one line, by what sets them apart."""

from __future__ import annotations

from typing import Any

from autocompress.passes.equalize.step import EQUALIZATIONS
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.report.recipes import ARROW, RecipeLabels


def steps(equalization: str = "none", **choices: Any) -> list[dict[str, Any]]:
    return Recipe(QuantizeConfig(**choices), equalize=EQUALIZATIONS[equalization]).to_steps()


def test_a_step_that_others_lack_makes_no_setting_look_different() -> None:
    plain, other = steps(activation_range="min_max"), steps(activation_range="mse")
    equalized = steps("cross_layer", activation_range="mse")
    labels = RecipeLabels([plain, other, equalized])
    assert labels(plain) == f"fold{ARROW}quantize: activation_range min_max"
    assert labels(other) == f"fold{ARROW}quantize: activation_range mse"
    assert labels(equalized) == f"fold{ARROW}equalize{ARROW}quantize: activation_range mse"


def test_a_setting_that_is_written_only_where_it_differs_is_shown_there() -> None:
    recipes = [steps(), steps(product_results="float", scope="weighted"), steps(scope="weighted")]
    labels = RecipeLabels(recipes)
    assert [labels(recipe) for recipe in recipes[1:]] == ["product_results float, scope weighted", "scope weighted"]

"""Recipes in one line, by what sets them apart."""

from __future__ import annotations

from typing import Any

from autocompress.passes.decompose import DecomposeConfig
from autocompress.passes.equalize.step import EQUALIZATIONS
from autocompress.passes.quantize import QuantizeConfig
from autocompress.passes.reconstruct import ReconstructConfig
from autocompress.passes.reconstruct.config import gentle_training
from autocompress.passes.recover import RecoverConfig
from autocompress.recipe.recipe import Recipe
from autocompress.report.recipes import ARROW, RecipeLabels, describe_steps


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


def test_ratios_are_percent_and_computed_numbers_have_three_digits() -> None:
    ratios = {"a": 1 / 6, "b": 0.16666666666666663, "c": 1 / 3, "d": 0.5}
    steps = [
        {"step": "prune", "config": {"ratios": ratios, "criterion": "surgeon"}},
        {
            "step": "sparsify",
            "config": {"layers": {"a": "unstructured@0.53333333", "b": "2:4"}, "global_sparsity": 0.9},
        },
        {"step": "equalize", "config": {"alpha": 2 / 3, "rate": 0.1 + 0.2}},
        {"step": "quantize", "config": {"activation_percentile": 99.997}},
    ]
    assert describe_steps(steps) == [
        "prune (ratios 2 × 16.7 % + 1 × 33.3 % + 1 × 50 %, criterion surgeon)",
        "sparsify (layers 1 × 2:4 + 1 × unstructured@0.533, global_sparsity 90 %)",
        "equalize (alpha 0.667, rate 0.300)",
        "quantize (activation_percentile 99.997)",
    ]


def test_many_different_ratios_are_told_by_range_and_mean() -> None:
    ratios = {str(i): i / 16 for i in range(1, 12)}
    assert describe_steps([{"step": "prune", "ratios": ratios}]) == [
        "prune (ratios 11 × 6.2 % to 68.8 %, on average 37.5 %)"
    ]


def test_decomposed_layers_are_counted_by_method() -> None:
    config = DecomposeConfig((("a", "svd", 12), ("b", "tucker2", (3, 4)), ("c", "svd", 3)))
    assert describe_steps(Recipe(decompose=config).to_steps()) == [
        "fold",
        "decompose (layers 2 × svd + 1 × tucker2, whitened)",
    ]


def test_of_a_training_only_what_is_unusual_is_named() -> None:
    recover = RecoverConfig(level="closed_form")
    light = RecoverConfig(level="light", augment=False, steps=200, learning_rate=0.01 / 3)
    reconstruct = ReconstructConfig(method="distill", training=gentle_training(level="full"))
    rows = Recipe(QuantizeConfig(), recover=recover, reconstruct=reconstruct).to_steps()
    fold, closed_form, _, rounding = describe_steps(rows)
    assert (fold, closed_form) == ("fold", "recover (level closed_form)")
    assert rounding.startswith("reconstruct (method distill, training: level full, learning_rate ")
    labels = RecipeLabels([rows, Recipe(QuantizeConfig(), recover=light, reconstruct=reconstruct).to_steps()])
    assert labels(rows) == "level closed_form"
    assert describe_steps(Recipe(recover=light).to_steps())[1] == (
        "recover (level light, steps 200, learning_rate 0.00333, augment off)"
    )

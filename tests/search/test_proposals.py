"""Breeding and choosing proposals."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from autocompress.passes.quantize import FP32, INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.accuracy_predictor import AccuracyPredictor
from autocompress.search.budget import Budget
from autocompress.search.encoding import Encoding
from autocompress.search.features import RecipeFeatures
from autocompress.search.pareto import front
from autocompress.search.prices import OPTIONS
from autocompress.search.proposals import Proposal, Scorer, breed, choose

sys.path.append(str(Path(__file__).parent))
from small_problems import random_damage, random_prices, space

REGIONS = 9
PRICES = random_prices(3, REGIONS)
DAMAGE = random_damage(3, PRICES)
ENCODING = Encoding(space(), PRICES.regions)
FREE = Budget(accuracy_drop=0.05, latency_ms=None, size_bytes=None, speedup=None)


def scorer() -> Scorer:
    features = RecipeFeatures(DAMAGE, [("activation_range", "percentile")], {})
    return Scorer(PRICES.regions, PRICES, features, AccuracyPredictor(seed=0, prior_scale=0.3))


def uniform(option: str) -> Recipe:
    config = QuantizeConfig().with_precisions({r.name: option if option in r.options else FP32 for r in PRICES.regions})
    return Recipe(config)


def proposal(name: int, drop: float, latency_ms: float, deviation: float = 0.0) -> Proposal:
    recipe = Recipe(QuantizeConfig().with_precisions({f"u{name}": FP32}))
    return Proposal(recipe, {}, drop, deviation, latency_ms, "explore")


def test_recipes_become_options() -> None:
    mixed = Recipe(QuantizeConfig(precision=INT8_DYNAMIC))
    rows = scorer().options([uniform(FP32), uniform(INT8), mixed, Recipe()])
    assert rows.tolist() == [
        [0] * REGIONS,
        [1] * REGIONS,
        [2 if INT8_DYNAMIC in r.options else 0 for r in PRICES.regions],
        [0] * REGIONS,
    ]


def test_scores_come_from_damage_and_prices() -> None:
    mean, deviation, latency = scorer().score([uniform(FP32), uniform(INT8)])
    np.testing.assert_allclose(latency, PRICES.price_ms(np.array([[0] * REGIONS, [1] * REGIONS])))
    assert mean[0] < 1e-5 < mean[1]
    np.testing.assert_allclose(mean[1], 0.3 * np.sqrt(DAMAGE[:, OPTIONS.index(INT8)].sum()))
    assert (deviation > 0).all()


def test_breeding_improves_on_its_parents() -> None:
    parents = [ENCODING.to_params(uniform(option)) for option in (FP32, INT8)]
    bred = breed(ENCODING, scorer(), parents, {}, count=160, seed=1)
    assert 60 < len(bred) <= 160
    assert len({p.recipe.hash for p in bred}) == len(bred)
    assert {p.origin for p in bred} == {"explore"}
    assert all(np.isfinite(p.latency_ms) for p in bred)
    hashes = {p.recipe.hash for p in bred}
    assert {ENCODING.to_recipe(p).hash for p in parents} <= hashes
    points = [(p.drop, p.latency_ms) for p in bred]
    assert len(front(points)) > 4
    for p in bred:
        assert ENCODING.to_recipe(p.params) == p.recipe
        assert p.latency_ms == float(PRICES.price_ms(scorer().options([p.recipe]))[0])


def test_breeding_is_deterministic_by_seed() -> None:
    parents = [ENCODING.to_params(uniform(INT8))]
    runs = [[p.recipe.hash for p in breed(ENCODING, scorer(), parents, {}, count=64, seed=seed)] for seed in (5, 5, 6)]
    assert runs[0] == runs[1] != runs[2]


def test_breeding_keeps_to_what_is_in_play() -> None:
    in_play = {"activation_range": ("percentile",), "bias_correction": (True,)}
    bred = breed(ENCODING, scorer(), [ENCODING.to_params(uniform(INT8))], in_play, count=48, seed=2)
    configs = [p.recipe.quantize for p in bred]
    assert {c.activation_range for c in configs if c} == {"percentile"}
    assert {c.bias_correction for c in configs if c} == {True}


def test_without_a_target_the_greatest_growth_is_chosen() -> None:
    pool = [proposal(0, 0.04, 9.0), proposal(1, 0.01, 5.0), proposal(2, 0.02, 4.0), proposal(3, 0.06, 1.0)]
    chosen = choose(pool, [(0.0, 10.0)], FREE, (0.05, 11.0), count=2, margin=0.0)
    assert [p.recipe for p in chosen] == [pool[1].recipe, pool[2].recipe]


def test_nothing_is_chosen_that_enlarges_nothing() -> None:
    pool = [proposal(0, 0.03, 8.0), proposal(1, 0.2, 1.0)]
    assert choose(pool, [(0.01, 5.0)], FREE, (0.05, 11.0), count=3, margin=0.0) == []
    assert choose([], [(0.01, 5.0)], FREE, (0.05, 11.0), count=3, margin=0.0) == []


def test_uncertain_proposals_get_the_benefit_of_the_doubt() -> None:
    sure, unsure = proposal(0, 0.02, 5.0, deviation=0.0), proposal(1, 0.021, 5.0, deviation=0.02)
    chosen = choose([sure, unsure], [(0.0, 10.0)], FREE, (0.05, 11.0), count=1, margin=0.0)
    assert chosen == [unsure]


def test_with_a_target_every_other_choice_is_fast_enough() -> None:
    budget = Budget(accuracy_drop=0.05, latency_ms=5.0, size_bytes=None, speedup=2.0)
    pool = [proposal(0, 0.03, 4.5), proposal(1, 0.02, 4.95), proposal(2, 0.001, 7.0), proposal(3, 0.04, 4.0)]
    chosen = choose(pool, [(0.0, 10.0)], budget, (0.2, 11.0), count=3, margin=0.02)
    # 4.95 ms is within the limit but not within its margin.
    assert chosen[0] is pool[0]
    assert chosen[1] is pool[2]
    assert len(chosen) == 3


def test_a_recipe_is_chosen_once() -> None:
    pool = [proposal(0, 0.02, 5.0), proposal(0, 0.02, 5.0), proposal(1, 0.03, 4.0)]
    chosen = choose(pool, [(0.0, 10.0)], FREE, (0.05, 11.0), count=3, margin=0.0)
    assert len({p.recipe.hash for p in chosen}) == len(chosen) == 2

"""Prices of choices that change kernels or insert operators, and sizes of files."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from autocompress.passes.equalize.step import EQUALIZATIONS
from autocompress.passes.quantize import FP32, INT4_WEIGHT_ONLY, INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.accuracy_predictor import AccuracyPredictor
from autocompress.search.features import RecipeFeatures
from autocompress.search.prices import OPTIONS
from autocompress.search.probes import Probe, probe_recipes
from autocompress.search.proposals import Scorer
from autocompress.search.regions import Region, find_regions
from autocompress.search.seeds import LadderProblem
from autocompress.search.sizes import fit_sizes
from autocompress.search.surcharge import Surcharge, spread_over

sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("search", "passes"))
from quantize_models import FloatGraph, Study
from small_problems import random_damage, random_prices

PRICES = random_prices(2, 9)
_INT8 = OPTIONS.index(INT8)


def scorer(**surcharges: Surcharge) -> Scorer:
    named = {tuple(key.split("__")): surcharge for key, surcharge in surcharges.items()}
    prices = dataclasses.replace(PRICES, surcharges=named)
    features = RecipeFeatures(random_damage(2, PRICES), [], {})
    return Scorer(prices.regions, prices, features, AccuracyPredictor(seed=0, prior_scale=0.3))


def recipe(option: str, equalization: str = "none", **choices: object) -> Recipe:
    config = QuantizeConfig(**choices).with_precisions(  # type: ignore[arg-type]
        {r.name: option if option in r.options else FP32 for r in PRICES.regions}
    )
    return Recipe(config, equalize=EQUALIZATIONS[equalization])


def test_an_inserted_operator_costs_the_same_in_every_recipe_that_has_it() -> None:
    found = scorer(equalization__smooth_insert=Surcharge(500.0))
    recipes = [recipe(o, e) for o in (FP32, INT8) for e in ("none", "smooth", "smooth_insert")]
    price = found.price_ms(recipes)
    plain = PRICES.price_ms(found.options(recipes))
    np.testing.assert_allclose(price - plain, np.array([0, 0, 0.5] * 2) * PRICES.scale, atol=1e-12)
    assert found.estimate(recipes[-1]).latency_ms == pytest.approx(price[-1])
    np.testing.assert_allclose(found.score(recipes)[2], price)


def test_a_change_of_kernels_costs_where_they_are() -> None:
    region_us = PRICES.region_us.copy()
    few = OPTIONS.index(INT4_WEIGHT_ONLY)
    products = [i for i, r in enumerate(PRICES.regions) if r.op_type == "MatMul"]
    region_us[products, few] = 10.0 * np.arange(1, len(products) + 1)
    regions = [
        Region((dataclasses.replace(r.main, storage_options=(INT4_WEIGHT_ONLY,) if i in products else ()),))
        for i, r in enumerate(PRICES.regions)
    ]
    shares = spread_over(regions, "weight_only_activations", region_us, 90.0)
    assert shares.sum() == pytest.approx(90.0)
    np.testing.assert_allclose(shares[products, few], 90.0 * np.arange(1, len(products) + 1) / 6)
    found = scorer(product_results__float=Surcharge(0.0, np.where(np.isfinite(PRICES.region_us), 7.0, 0.0)))
    writing = [recipe(option, product_results="float") for option in (FP32, INT8)]
    added = found.price_ms(writing) - PRICES.price_ms(found.options(writing))
    np.testing.assert_allclose(added, 0.007 * len(PRICES.regions) * PRICES.scale, atol=1e-12)


def test_choices_that_decide_what_is_int8_have_prices_of_their_own() -> None:
    form = random_prices(5, 9)
    form = dataclasses.replace(form, scale=PRICES.scale)
    choices = frozenset({("product_results", "float"), ("scope", "all")})
    prices = dataclasses.replace(
        PRICES, forms={choices: form}, surcharges={("equalization", "smooth_insert"): Surcharge(500.0)}
    )
    features = RecipeFeatures(random_damage(2, PRICES), [], {})
    found = Scorer(prices.regions, prices, features, AccuracyPredictor(seed=0, prior_scale=0.3))
    plain, own = recipe(INT8), recipe(INT8, product_results="float")
    options = found.options([plain, own])
    expected = [PRICES.price_ms(options)[0], form.price_ms(options)[1]]
    np.testing.assert_allclose(found.price_ms([plain, own]), expected)
    assert found.estimate(own).latency_ms == pytest.approx(expected[1])
    inserted = recipe(INT8, "smooth_insert", product_results="float")
    assert found.price_ms([inserted])[0] == pytest.approx(expected[1] + 0.5 * PRICES.scale)
    # What was measured corrects them alike.
    factors = np.full(len(OPTIONS) + 2, 2.0)
    doubled = prices.with_factors(factors, PRICES.scale).under([("product_results", "float"), ("scope", "all")])
    np.testing.assert_allclose(doubled.price_ms(options), 2 * form.price_ms(options))


def test_probes_are_of_the_precisions_in_play() -> None:
    names = set(probe_recipes(PRICES.regions, QuantizeConfig(), (FP32, INT8_DYNAMIC)))
    assert names == {FP32, INT8_DYNAMIC}
    assert set(probe_recipes(PRICES.regions, QuantizeConfig(), (FP32, INT8))) == {FP32, INT8, "even", "odd"}


def test_sizes_add_up_to_files() -> None:
    graph = FloatGraph(5)
    x = graph.op("Relu", graph.conv(graph.input("x", 16, 8, 8), 16, 64))
    x = graph.op("Flatten", graph.op("GlobalAveragePool", graph.conv(x, 64, 64)))
    graph.output(graph.op("MatMul", x, graph.random(64, 512)))
    study = Study(graph.model())
    regions = find_regions(study.builder.quantizer.units)
    sizes_of = {}
    for name, (options, probe) in probe_recipes(regions, QuantizeConfig(), (FP32, INT8)).items():
        assert probe.quantize is not None
        candidate = study.builder.build(study.builder.freeze(probe, study.statistics))
        sizes_of[name] = Probe(options, (), candidate.ByteSize())
    region_bytes, fixed_bytes = fit_sizes(study.builder.prepared, regions, sizes_of)
    assert region_bytes is not None
    for probe in sizes_of.values():
        predicted = region_bytes[np.arange(len(regions)), probe.options].sum() + fixed_bytes
        assert predicted == pytest.approx(probe.size_bytes, rel=0.05)
    assert np.isinf(region_bytes[0, OPTIONS.index(INT8_DYNAMIC)])


def test_the_least_damaging_assignment_of_a_size() -> None:
    damage = random_damage(2, PRICES)
    bytes_of = np.where(np.isfinite(PRICES.region_us), 100.0, np.inf)
    bytes_of[:, 0] = 400.0
    problem = LadderProblem(dataclasses.replace(PRICES, region_bytes=bytes_of, fixed_bytes=50.0), damage)
    regions = len(PRICES.regions)
    assert problem.smallest_bytes() == pytest.approx(100.0 * regions + 50)
    for shrunk in range(regions + 1):
        limit = 400.0 * regions + 50 - 300 * shrunk
        rung = problem.solve(1e9, size_limit_bytes=limit)
        assert rung is not None
        least = np.where(np.isfinite(damage[:, 1:]), damage[:, 1:], np.inf).min(axis=1)
        assert rung.damage == pytest.approx(np.sort(least)[:shrunk].sum(), rel=1e-3, abs=1e-6)
    assert problem.solve(1e9, size_limit_bytes=100.0 * regions) is None

from __future__ import annotations

import json

import cli_startup
import estimate_rate
import numpy as np
import pytest

from autocompress.search.prices import LatencyPrices


@pytest.fixture(scope="module")
def prices() -> LatencyPrices:
    return estimate_rate.resnet50_prices()


def test_the_graph_has_the_regions_of_resnet50(prices: LatencyPrices) -> None:
    types = [region.op_type for region in prices.regions]
    assert types.count("Conv") == 53
    assert types.count("Add") == 16
    assert types.count("Gemm") == 1
    sizes = {boundary.tensor: boundary.elements for boundary in prices.boundaries}
    assert sizes["stage0.block0.relu3:0"] == 256 * 56 * 56


def test_single_and_batch_prices_agree(prices: LatencyPrices) -> None:
    recipes = np.random.default_rng(3).integers(0, 2, (5, len(prices.regions)))
    singles = [prices.estimate(recipe.tolist()).latency_ms for recipe in recipes]
    np.testing.assert_allclose(prices.price_ms(recipes), singles)


def test_the_limit_decides_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert estimate_rate.main(["--seconds", "0.2", "--limit", "1"]) == 0
    assert estimate_rate.main(["--seconds", "0.2", "--limit", "1e12"]) == 1
    found, _ = json.JSONDecoder().raw_decode(capsys.readouterr().out)
    for part in ("by_operators", "by_regions"):
        assert found[part]["recipes_per_second"] > 1
    assert found["by_operators"]["operators_per_recipe"] > 40


def test_recipes_mix_float_and_int8_operators() -> None:
    recipes = estimate_rate.resnet50_recipes(8)
    types = [{op.signature.op_type for op in recipe} for recipe in recipes]
    assert any({"QLinearConv", "Conv"} <= found for found in types)
    assert len({tuple(op.signature.key for op in recipe) for recipe in recipes}) == 8


def test_help_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_startup.main(["--repeats", "1", "--limit", "1e-6"]) == 1
    assert json.loads(capsys.readouterr().out)["heavy_imports"] == []

"""Prices against an obvious loop over one recipe at a time."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from autocompress.passes.quantize import INT8
from autocompress.search.boundaries import Boundary
from autocompress.search.prices import OPTIONS, ConversionPrice, LatencyPrices

sys.path.append(str(Path(__file__).parent))
from small_problems import random_prices, region

_INT8 = OPTIONS.index(INT8)


def slow_price_ms(prices: LatencyPrices, options: tuple[int, ...]) -> float:
    microseconds = prices.fixed_us + sum(prices.region_us[i, option] for i, option in enumerate(options))
    for boundary in prices.boundaries:
        from_int8 = boundary.producer >= 0 and options[boundary.producer] == _INT8
        readers = [options[i] == _INT8 for i in boundary.consumers]
        if not from_int8 and any(readers):
            microseconds += prices.quantize.fixed_us + prices.quantize.per_element_us * boundary.elements
        # Some kernels write float by themselves.
        if from_int8 and (boundary.float_reader or not all(readers)) and not boundary.written_float:
            microseconds += prices.dequantize.fixed_us + prices.dequantize.per_element_us * boundary.elements
    return microseconds * prices.scale / 1000


@pytest.mark.parametrize("seed", range(5))
def test_many_recipes_at_once(seed: int) -> None:
    prices = random_prices(seed, 6)
    allowed = [[o for o in range(3) if np.isfinite(prices.region_us[i, o])] for i in range(6)]
    everything = list(itertools.product(*allowed))
    found = prices.price_ms(np.array(everything))
    assert found.shape == (len(everything),)
    np.testing.assert_allclose(found, [slow_price_ms(prices, options) for options in everything], rtol=1e-12)


def test_an_option_that_a_region_lacks_is_infinitely_dear() -> None:
    prices = random_prices(0, 3)
    assert np.isinf(prices.price_ms(np.array([[2, 0, 0]]))).all()
    assert np.isfinite(prices.price_ms(np.array([[0, 0, 2]]))).all()


def test_what_conversions_cost() -> None:
    a, b = region("a"), region("b")
    prices = LatencyPrices(
        regions=(a, b),
        region_us=np.zeros((2, len(OPTIONS))),
        fixed_us=0.0,
        boundaries=(
            Boundary("x", -1, (0,), False, 10),
            Boundary("a_out", 0, (1,), False, 100),
            Boundary("b_out", 1, (), True, 1000),
        ),
        quantize=ConversionPrice(1.0, 1.0),
        dequantize=ConversionPrice(2.0, 3.0),
    )
    recipes = np.array([[0, 0], [_INT8, 0], [0, _INT8], [_INT8, _INT8]])
    quantize_x, dequantize_a, quantize_a, dequantize_b = 11.0, 302.0, 101.0, 3002.0
    np.testing.assert_allclose(
        prices.price_ms(recipes) * 1000,
        [0.0, quantize_x + dequantize_a, quantize_a + dequantize_b, quantize_x + dequantize_b],
    )
    # A dynamic neighbour reads and writes float.
    np.testing.assert_allclose(prices.price_ms(np.array([[_INT8, 2]])) * 1000, [quantize_x + dequantize_a])


def test_a_measured_correction_scales_everything() -> None:
    prices = random_prices(1, 4)
    recipes = np.array([[0, 0, 0, 0], [1, 1, 1, 1]])
    doubled = dataclasses.replace(prices, scale=2 * prices.scale)
    np.testing.assert_allclose(doubled.price_ms(recipes), 2 * prices.price_ms(recipes))


def test_an_estimate_has_its_interval() -> None:
    prices = dataclasses.replace(random_prices(2, 4), relative_error=0.2, coverage=0.75, nodes=9)
    estimate = prices.estimate([1, 0, 1, 1])
    assert estimate.latency_ms == pytest.approx(slow_price_ms(prices, (1, 0, 1, 1)))
    assert estimate.interval90_ms.low == pytest.approx(0.8 * estimate.latency_ms)
    assert estimate.interval90_ms.high == pytest.approx(1.2 * estimate.latency_ms)
    assert (estimate.coverage, estimate.nodes) == (0.75, 9)
    wide = dataclasses.replace(prices, relative_error=3.0).estimate([0, 0, 0, 0])
    assert wide.interval90_ms.low == 0.0


def test_thousands_of_recipes_take_no_time() -> None:
    import time

    prices = random_prices(3, 60)
    recipes = np.random.default_rng(0).integers(0, 2, (2000, 60))
    start = time.process_time()
    prices.price_ms(recipes)
    assert time.process_time() - start < 1.0

"""The integer program against enumeration of every assignment."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from autocompress.search.prices import LatencyPrices
from autocompress.search.seeds import LadderProblem, ladder

sys.path.append(str(Path(__file__).parent))
from small_problems import random_damage, random_prices


def every_assignment(prices: LatencyPrices, damage: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All possible assignments with their prices and damages."""
    allowed = [[o for o in range(damage.shape[1]) if np.isfinite(damage[i, o])] for i in range(len(damage))]
    options = np.array(list(itertools.product(*allowed)))
    return options, prices.price_ms(options), damage[np.arange(len(damage)), options].sum(axis=1)


@pytest.mark.parametrize("seed", range(12))
def test_the_least_damaging_assignment_within_a_limit(seed: int) -> None:
    prices = random_prices(seed, 3 + seed % 6)
    damage = random_damage(seed, prices)
    _, latency, harm = every_assignment(prices, damage)
    problem = LadderProblem(prices, damage)
    for limit in np.quantile(latency, [0.0, 0.05, 0.3, 0.7, 1.0]):
        rung = problem.solve(float(limit) * (1 + 1e-9))
        assert rung is not None
        assert rung.latency_ms <= limit * (1 + 1e-6)
        assert rung.latency_ms == pytest.approx(float(prices.price_ms(np.array([rung.options]))[0]))
        assert rung.damage == pytest.approx(float(damage[np.arange(len(damage)), rung.options].sum()))
        best = harm[latency <= limit * (1 + 1e-9)].min()
        # Latency breaks ties, with a weight of at most a millionth of the largest damage per unit.
        assert rung.damage <= best + 1e-5 * damage[np.isfinite(damage)].max()


@pytest.mark.parametrize("seed", range(8))
def test_the_fastest_assignment(seed: int) -> None:
    prices = random_prices(seed, 3 + seed % 6)
    damage = random_damage(seed, prices)
    _, latency, _ = every_assignment(prices, damage)
    assert LadderProblem(prices, damage).fastest().latency_ms == pytest.approx(latency.min(), rel=1e-6)


def test_no_assignment_within_an_impossible_limit() -> None:
    prices = random_prices(4, 5)
    damage = random_damage(4, prices)
    _, latency, _ = every_assignment(prices, damage)
    problem = LadderProblem(prices, damage)
    assert problem.solve(latency.min() * 0.99) is None
    assert problem.solve(0.0) is None
    assert problem.solve(prices.fixed_us / 1e3 * prices.scale / 2) is None


def test_without_a_limit_everything_stays_float() -> None:
    prices = random_prices(5, 7)
    rung = LadderProblem(prices, random_damage(5, prices)).solve(1e6)
    assert rung is not None
    assert rung.options == (0,) * 7
    assert rung.damage == 0.0


def test_harmless_options_are_taken_for_their_speed() -> None:
    prices = random_prices(6, 6)
    damage = np.where(np.isfinite(prices.region_us), 0.0, np.inf)
    _, latency, _ = every_assignment(prices, damage)
    rung = LadderProblem(prices, damage).solve(1e6)
    assert rung is not None
    assert rung.latency_ms == pytest.approx(latency.min(), rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_a_ladder_climbs_from_fast_to_harmless(seed: int) -> None:
    prices = random_prices(seed, 8)
    damage = random_damage(seed, prices)
    _, latency, _ = every_assignment(prices, damage)
    rungs = ladder(LadderProblem(prices, damage), latency.min(), latency.max(), 7)
    assert 2 <= len(rungs) <= 7
    assert len({rung.options for rung in rungs}) == len(rungs)
    assert all(a.damage >= b.damage - 1e-6 * a.damage for a, b in itertools.pairwise(rungs))
    assert rungs[0].latency_ms == pytest.approx(latency.min(), rel=1e-6)
    assert rungs[-1].damage < rungs[0].damage


def test_a_hundred_regions_are_solved_quickly() -> None:
    import time

    prices = random_prices(7, 100)
    damage = random_damage(7, prices)
    problem = LadderProblem(prices, damage)
    fastest = problem.fastest().latency_ms
    start = time.process_time()
    rung = problem.solve(fastest * 1.3)
    assert time.process_time() - start < 5.0
    assert rung is not None
    assert rung.latency_ms <= fastest * 1.3 * (1 + 1e-6)

"""What verified finalists do to estimates and prices."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.estimator import LatencyEstimator
from autocompress.measurement import Interval, MeasuredLatency, MeasuredSpeedup
from autocompress.passes.quantize import INT8
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search.anchors import anchored, anchored_prices, anchors_of
from autocompress.search.prices import OPTIONS, LatencyPrices

sys.path.append(str(Path(__file__).parent))
from small_problems import random_prices


def ops(*widths: int) -> tuple[ExecutedOp, ...]:
    def relu(width: int) -> OpSignature:
        x = TensorType("float32", (1, width))
        return OpSignature("", "Relu", (x,), (x,))

    return tuple(ExecutedOp(f"op{i}", relu(width)) for i, width in enumerate(widths))


def latency(latency_ms: float) -> MeasuredLatency:
    return MeasuredLatency(latency_ms, latency_ms, 0.0, 10, "cpu")


def finalist(speedup: float | None, *widths: int) -> Any:
    timed = None if speedup is None else MeasuredSpeedup(latency(1.0), latency(1.0), speedup, Interval(1, 2), 10)
    return SimpleNamespace(verification=SimpleNamespace(speedup=timed, ops=ops(*widths)))


def state(*verified: Any, deterministic: bool = False, measured_ms: float | None = 3.0) -> Any:
    return SimpleNamespace(
        settings=SimpleNamespace(deterministic=deterministic),
        baseline=SimpleNamespace(latency=None if measured_ms is None else latency(measured_ms)),
        baseline_ops=list(ops(1 << 20, 1 << 20)),
        estimator=LatencyEstimator(None),
        verified=list(verified),
    )


def test_the_baseline_and_every_timed_finalist_are_anchors() -> None:
    timed, untimed = finalist(2.0, 1 << 20), finalist(None, 1 << 19)
    found = anchors_of(state(timed, untimed))
    assert [a.measured_ms for a in found] == [3.0, 1.5]
    assert [a.measured_ms for a in anchors_of(state(timed, untimed), without=timed)] == [3.0]


def test_nothing_measured_counts_in_a_deterministic_run() -> None:
    assert anchors_of(state(finalist(2.0, 1 << 20), deterministic=True)) == []
    assert anchors_of(state(finalist(2.0, 1 << 20), measured_ms=None)) == []
    unchanged = state(deterministic=True)
    assert anchored(unchanged, ops(1 << 20)) == unchanged.estimator.estimate(ops(1 << 20))


def test_an_estimate_goes_where_the_anchors_are() -> None:
    searched = state(finalist(2.0, 1 << 20))
    plain = searched.estimator.estimate(ops(1 << 20))
    corrected = anchored(searched, ops(1 << 20))
    assert abs(corrected.latency_ms - 1.5) < 0.5 * abs(plain.latency_ms - 1.5)
    low, high = corrected.interval90_ms.to_list()
    assert low < corrected.latency_ms < high


def drawn_options(prices: LatencyPrices, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((count, len(prices.regions))) < rng.random((count, 1))).astype(np.int64)


def int8_times(factor: float) -> np.ndarray:
    factors = np.ones(len(OPTIONS) + 2)
    factors[OPTIONS.index(INT8)] = factor
    return factors


@pytest.mark.parametrize("seed", range(3))
def test_parts_add_up_to_the_price(seed: int) -> None:
    prices = random_prices(seed, 6)
    options = drawn_options(prices, 20)
    parts = prices.parts_us(options)
    np.testing.assert_allclose(parts.sum(axis=1) * prices.scale / 1e3, prices.price_ms(options), rtol=1e-12)
    np.testing.assert_allclose(
        prices.with_factors(np.ones(len(OPTIONS) + 2), prices.scale).price_ms(options), prices.price_ms(options)
    )
    doubled = prices.with_factors(int8_times(2.0), prices.scale)
    np.testing.assert_allclose(doubled.parts_us(options)[:, 1], 2 * parts[:, 1])


def test_prices_learn_what_is_slower_than_it_was_thought() -> None:
    prices = dataclasses.replace(random_prices(0, 12), scale=1.0)
    truth = prices.with_factors(int8_times(1.15), 1.2)
    seen, new = drawn_options(prices, 12), drawn_options(prices, 50, seed=1)
    corrected = anchored_prices(prices, seen, truth.price_ms(seen))
    by_median = np.median(truth.price_ms(seen) / prices.price_ms(seen)) * prices.price_ms(new)
    errors = np.abs(corrected.price_ms(new) / truth.price_ms(new) - 1)
    assert errors.mean() < 0.03
    assert errors.mean() < 0.6 * np.abs(by_median / truth.price_ms(new) - 1).mean()


def test_one_disturbed_timing_does_not_bend_the_prices() -> None:
    prices = dataclasses.replace(random_prices(1, 12), scale=1.0)
    options = drawn_options(prices, 10)
    measured = 1.1 * prices.price_ms(options)
    measured[3] *= 3
    corrected = anchored_prices(prices, options, measured)
    rest = np.delete(np.arange(10), 3)
    errors = corrected.price_ms(options[rest]) / measured[rest] - 1
    assert np.abs(errors).max() < 0.08


def test_infinite_prices_stay_infinite() -> None:
    prices = random_prices(0, 3)
    options = np.zeros((4, 3), np.int64)
    corrected = anchored_prices(prices, options, prices.price_ms(options))
    np.testing.assert_array_equal(np.isinf(corrected.region_us), np.isinf(prices.region_us))
    np.testing.assert_allclose(corrected.price_ms(options), prices.price_ms(options), rtol=0.01)

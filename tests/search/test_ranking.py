"""Which trial comes first, and how measurement and prediction are weighed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from autocompress.search.budget import Budget
from autocompress.search.ranking import expected_drop, rank, standard_error

sys.path.append(str(Path(__file__).parent))
from small_problems import evaluated_trial

TARGET = Budget(accuracy_drop=0.01, latency_ms=5.0, size_bytes=None, speedup=2.0)
NO_TARGET = Budget(accuracy_drop=0.01, latency_ms=None, size_bytes=None, speedup=None)


def order(drops: list[float], latencies: list[float], budget: Budget, **options: object) -> list[int]:
    trials = [evaluated_trial(i, d, 10 / ms) for i, (d, ms) in enumerate(zip(drops, latencies, strict=True))]
    return [trial.number for trial in rank(trials, drops, latencies, budget)]


def test_the_posterior_is_the_mean_of_the_product_of_two_normals() -> None:
    grid = np.linspace(-1, 1, 200_001)
    density = np.exp(-0.5 * ((grid - 0.02) / 0.01) ** 2 - 0.5 * ((grid - 0.05) / 0.03) ** 2)
    assert expected_drop(0.02, 0.01, 0.05, 0.03) == pytest.approx(float((grid * density).sum() / density.sum()))
    assert expected_drop(0.02, 0.0, 0.05, 0.03) == pytest.approx(0.02)
    assert expected_drop(0.02, 0.01, 0.05, 0.0) == pytest.approx(0.05)


def test_the_standard_error_comes_from_the_interval() -> None:
    assert standard_error(evaluated_trial(0, 0.0, 1.0, half_width=0.0196)) == pytest.approx(0.01)
    assert standard_error(evaluated_trial(0, 0.0, 1.0, half_width=0.0)) > 0


def test_with_a_target_the_least_drop_among_those_that_meet_it() -> None:
    drops = [0.001, 0.005, 0.002, 0.5, 0.009]
    latencies = [8.0, 4.0, 4.9, 1.0, 6.0]
    assert order(drops, latencies, TARGET) == [2, 1, 4, 0, 3]


def test_without_a_target_the_fastest_within_the_drop() -> None:
    assert order([0.0, 0.009, 0.02, 0.001], [10.0, 3.0, 1.0, 5.0], NO_TARGET) == [1, 3, 0, 2]


def test_trials_that_were_stopped_early_come_last() -> None:
    trials = [evaluated_trial(0, 0.0, 5.0, stopped_early=True), evaluated_trial(1, 0.009, 1.1)]
    assert [t.number for t in rank(trials, [0.0, 0.009], [2.0, 9.0], TARGET)] == [1, 0]


def test_size_limits_count() -> None:
    budget = Budget(accuracy_drop=0.01, latency_ms=None, size_bytes=50, speedup=None)
    trials = [evaluated_trial(0, 0.0, 1.0, size_bytes=100), evaluated_trial(1, 0.009, 1.0, size_bytes=50)]
    assert [t.number for t in rank(trials, [0.0, 0.009], [9.0, 10.0], budget)] == [1, 0]


def test_equal_trials_keep_their_order() -> None:
    assert order([0.001] * 3, [4.0] * 3, TARGET) == [0, 1, 2]
    assert rank([], [], [], TARGET) == []

"""Calibrated intervals: of whole models, and what calibration makes of wrong ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autocompress.errors import TableError
from autocompress.latency.intervals import (
    RAW,
    ModelIntervals,
    calibrate,
    conformal_quantile,
    relative_sigma,
    sigma_above,
    sigma_below,
)


@pytest.mark.parametrize("n", [9, 19, 99, 500])
def test_a_new_score_is_below_the_quantile_nine_times_in_ten(n: int) -> None:
    rng = np.random.default_rng(n)
    held = [rng.standard_normal() <= conformal_quantile(rng.standard_normal(n)) for _ in range(4000)]
    assert np.mean(held) == pytest.approx(0.9, abs=0.03)


def test_of_few_scores_the_largest_counts() -> None:
    assert conformal_quantile(np.asarray([1.0, 5.0, 3.0])) == 5.0


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
def test_calibration_undoes_a_wrong_scale(scale: float) -> None:
    rng = np.random.default_rng(0)
    scores = np.abs(rng.standard_normal(2000)) * scale
    found = calibrate(scores, 2 * scores)
    assert found.table_factor == pytest.approx(1.645 * scale, rel=0.08)
    assert found.forest_factor == pytest.approx(min(3.29 * scale, 4.0), rel=0.08)


def test_few_models_calibrate_nothing() -> None:
    assert calibrate(np.ones(5), np.ones(5)).table_factor == ModelIntervals.table_factor


def test_the_interval_lies_between_table_and_forest_by_coverage() -> None:
    intervals = ModelIntervals(1.0, 2.0, noise90=0.0)
    widths = [intervals.half_log(0.1, coverage) for coverage in (0.0, 0.25, 1.0)]
    assert widths == pytest.approx([0.2, 0.175, 0.1])
    assert ModelIntervals(1.0, 2.0, noise90=0.03).half_log(0.04, 1.0) == pytest.approx(0.05)
    assert RAW.half_log(0.07, 0.5) == pytest.approx(0.07)


def test_sigma_joins_common_own_and_composition() -> None:
    halves = np.asarray([3.0, 4.0])
    found = relative_sigma(100.0, float(halves.sum()), float((halves**2).sum()), 0.05)
    assert found == pytest.approx(math.sqrt(3.5**2 + 0.25 * 25 + 5**2) / 100)


def test_large_uncertainties_stay_finite() -> None:
    assert sigma_above(0.01) == pytest.approx(0.01, rel=0.01)
    assert sigma_below(0.01) == pytest.approx(0.01, rel=0.01)
    assert sigma_above(math.expm1(0.7)) == pytest.approx(0.7)
    assert sigma_below(-math.expm1(-0.7)) == pytest.approx(0.7)
    assert sigma_below(5.0) == pytest.approx(3.0, abs=0.01)
    assert math.exp(ModelIntervals().half_log(1e6, 0.0)) == pytest.approx(100.0)


def test_what_stands_on_the_card_comes_back() -> None:
    intervals = ModelIntervals(0.9, 1.7, 0.02, 40)
    assert ModelIntervals.from_dict(intervals.to_dict()) == intervals
    with pytest.raises(TableError, match="train them again"):
        ModelIntervals.from_dict({"width": 1})

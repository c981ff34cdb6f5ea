"""Points, agreement, windows, recipes: the numbers behind the pictures."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from autocompress.measurement import EstimatedLatency, Interval, MeasuredDrop, MeasuredLatency
from autocompress.report.agreement import Pair, accuracy_pairs, agreement, drop_pairs, latency_pairs
from autocompress.report.points import study_points
from autocompress.report.recipes import RecipeLabels, describe_recipe
from autocompress.report.window import drop_window, out_of_window, speedup_window, target_speedup
from autocompress.store import CandidateRecord


def bare(trial: int, **changes) -> CandidateRecord:
    return CandidateRecord(trial, f"{trial:x}", [{"step": "fold"}], "explore", "complete", **changes)


def drop(value: float) -> MeasuredDrop:
    return MeasuredDrop(value, Interval(value - 0.01, value + 0.01), 100, "paired-t")


def estimate(ms: float) -> EstimatedLatency:
    return EstimatedLatency(ms, Interval(ms * 0.9, ms * 1.1), 0.8, 10)


def test_each_kind_of_point_has_its_own_list(reported):
    timed = MeasuredLatency(3.91, 3.9, 0.01, 30, "cpu")
    candidates = (
        bare(0, search_drop=drop(0.01), latency=timed, estimate=estimate(4.2)),
        bare(1, search_drop=drop(0.02), estimate=estimate(2.0)),
        bare(2, predicted_drop=0.03, estimate=estimate(1.0)),
        bare(3),
        bare(4, estimate=estimate(1.0)),
        bare(5, predicted_drop=0.03),
    )
    found = reported(candidates)
    points = study_points(found.record, found.summary)
    assert [p.candidate.trial for p in points.searched] == [0]
    assert points.searched[0].speedup == pytest.approx(2.0)
    assert [p.candidate.trial for p in points.priced] == [1]
    assert points.priced[0].speedup_interval.high == pytest.approx(7.82 / 1.8)
    assert [p.candidate.trial for p in points.predicted] == [2]
    assert points.verified == ()
    assert points.front_is_measured
    assert [p.candidate.trial for p in points.front] == [0]  # the estimated point would dominate, and must not


def test_the_front_is_not_dominated(met):
    points = study_points(met.record, met.summary)
    assert len(points.front) > 5
    for kept in points.front:
        assert not any(
            p.speedup >= kept.speedup and p.drop <= kept.drop and (p.speedup, p.drop) != (kept.speedup, kept.drop)
            for p in points.searched
        )
    speeds = [p.speedup for p in points.front]
    assert speeds == sorted(speeds)


def test_without_timing_the_front_says_that_it_is_estimated(reported):
    found = reported(tuple(bare(i, search_drop=drop(0.01 * i), estimate=estimate(5.0 - i)) for i in range(3)))
    points = study_points(found.record, found.summary)
    assert not points.front_is_measured
    assert len(points.front) == 3


def test_agreement_against_independent_formulas():
    rng = np.random.default_rng(0)
    predicted, measured = rng.gamma(3.0, 1.0, (2, 40))
    pairs = [Pair(i, p, m, Interval(p - 1, p + 1)) for i, (p, m) in enumerate(zip(predicted, measured, strict=True))]
    found = agreement(pairs)
    assert found.n == 40
    assert found.mape == pytest.approx(np.mean(np.abs((predicted - measured) / measured)))
    assert found.mae == pytest.approx(np.mean(np.abs(predicted - measured)))
    ranks = np.corrcoef(stats.rankdata(predicted), stats.rankdata(measured))[0, 1]
    assert found.rank_correlation == pytest.approx(ranks)
    assert found.within_interval == int(np.sum(np.abs(predicted - measured) <= 1))
    assert found.with_interval == 40


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_pairs_have_no_rank_correlation(n):
    found = agreement([Pair(i, float(i), float(i), None) for i in range(1, n + 1)])
    assert found.rank_correlation is None
    assert (found.mape is None) == (n == 0)


def test_constant_and_zero_sides_are_survived():
    found = agreement([Pair(i, 1.0, 0.0, None) for i in range(5)])
    assert (found.mape, found.mae, found.rank_correlation) == (None, 1.0, None)


def test_pairs_come_from_the_right_part(met):
    candidates = met.record.candidates
    assert len(latency_pairs(candidates, verified=True)) == len(drop_pairs(candidates, verified=True)) == 3
    searched = [c for c in candidates if c.search_drop]
    assert len(drop_pairs(candidates, verified=False)) == len(searched)
    first = latency_pairs(candidates, verified=False)[0]
    chosen = candidates[first.trial]
    assert (first.predicted, first.measured) == (chosen.estimate.latency_ms, chosen.search_speedup.b.latency_ms)
    assert accuracy_pairs([Pair(0, 0.1, 0.2, None)], 0.7)[0].measured == pytest.approx(0.5)


def test_infinite_drops_leave_statistics_and_windows_finite(reported):
    candidates = (bare(0, predicted_drop=0.0, search_drop=drop(math.inf), estimate=estimate(3.0)),)
    found = reported(candidates)
    assert drop_pairs(candidates, verified=False) == []
    window = drop_window(study_points(found.record, found.summary), found.summary)
    assert all(map(math.isfinite, window))


def test_a_lost_candidate_does_not_flatten_the_picture(met):
    lost = [replace(c, search_drop=drop(0.8)) for c in met.record.candidates if c.search_drop][:5]
    numbers = {c.trial for c in lost}
    record = replace(met.record, candidates=(*lost, *(c for c in met.record.candidates if c.trial not in numbers)))
    points = study_points(record, met.summary)
    window = drop_window(points, met.summary)
    assert window[1] < 0.06
    assert out_of_window(points, window) >= 5
    assert all(window[0] < p.drop_interval.low and p.drop_interval.high < window[1] for p in points.verified)


def test_the_strictest_latency_target_counts():
    baseline = {"latency_ms": 10.0}
    assert target_speedup({"target_speedup": 2.0, "target_latency_ms": 4.0, "baseline": baseline}) == 2.5
    assert target_speedup({"target_speedup": 3.0, "target_latency_ms": 4.0, "baseline": baseline}) == 3.0
    assert target_speedup({"baseline": baseline}) is None


def test_an_unreachable_target_is_in_view(missed):
    low, high = speedup_window(study_points(missed.record, missed.summary), missed.summary)
    assert low < 1.0
    assert high > 4.0


def test_recipes_in_words():
    steps = [
        {"step": "fold"},
        {
            "step": "quantize",
            "config": {"dtype": "int8", "bias": True, "off": False, "exceptions": {"a": "fp32", "b": "fp32"}},
        },
        {"step": "prune", "ratios": [0.5, 0.25, 0.5], "nested": [{"a": 1}]},
    ]
    assert describe_recipe(steps) == (
        "fold → quantize (dtype int8, bias, exceptions 2 × fp32) → prune (ratios 1 × 25 % + 2 × 50 %, nested of 1)"
    )
    assert describe_recipe([]) == "unchanged"


def test_labels_keep_only_what_sets_a_recipe_apart():
    def steps(ranges: str, exceptions: int) -> list[dict]:
        return [
            {"step": "fold"},
            {"step": "quantize", "config": {"dtype": "int8", "ranges": ranges, "exceptions": exceptions}},
        ]

    label = RecipeLabels([steps("kl", 1), steps("mse", 1)])
    assert label(steps("kl", 1)) == "ranges kl"
    mixed = RecipeLabels([steps("kl", 1), [{"step": "fold"}]])
    assert mixed([{"step": "fold"}]) == "fold"
    assert RecipeLabels([steps("kl", 1)])(steps("kl", 1)) == describe_recipe(steps("kl", 1))

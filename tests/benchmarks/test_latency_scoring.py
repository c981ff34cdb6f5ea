"""The statistics of the latency benchmark, against known values and models made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from latency_models.catalogue import Form
from latency_scoring.anchors import anchored
from latency_scoring.judged import Anchorable, Judged, Prediction
from latency_scoring.linear import LinearModel, Work
from latency_scoring.measures import Share, close_windows, regret, spearman, wilson_interval
from latency_scoring.report import pairs_of, scores
from latency_scoring.scores import accuracy, ranking, signs
from latency_scoring.targets import targets
from scipy.stats import binomtest, spearmanr

from autocompress.latency.anchoring import AnchorPrior, Candidate
from autocompress.measurement import EstimatedLatency, Interval

FLOAT, INT8 = "float", "int8"


# Statistics


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (8, 10), (46, 50), (60, 60)])
def test_wilson_against_scipy(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(wilson_interval(hits, n), (expected.low, expected.high), atol=1e-12)


def test_wilson_by_hand() -> None:
    """8 of 10, z = 1.96: (8 + z^2 / 2 -+ z sqrt(8 * 2 / 10 + z^2 / 4)) / (10 + z^2)."""
    np.testing.assert_allclose(Share(8, 10).interval95, (0.4902, 0.9433), atol=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_spearman_with_ties_against_scipy() -> None:
    a, b = [1.0, 2.0, 2.0, 3.0, 5.0, 4.0], [2.0, 1.0, 3.0, 3.0, 6.0, 5.0]
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(spearman([1.0, 1.0], [1.0, 2.0]))


def test_windows_hold_what_is_within_a_fifth_of_their_fastest() -> None:
    truth = [1.0, 1.1, 1.19, 1.3, 2.0, 1.05, 1.15]
    # From 1.0 up to 1.2; from 1.1 up to 1.32 (what begins at 1.05 is a part of the first).
    assert close_windows(truth, fewest=4) == [[0, 5, 1, 6, 2], [1, 6, 2, 3]]
    assert close_windows(truth, fewest=6) == []


def test_regret_is_what_the_choice_costs() -> None:
    assert regret([4.0, 3.0, 3.3], [1.0, 3.0, 2.0]) == pytest.approx(1 / 3)
    assert regret([4.0, 3.0, 3.3], [5.0, 0.1, 2.0]) == 0.0


# Scores of models made by hand


def _judged(
    truth_ms: float,
    said_ms: float,
    *,
    recipe: str = FLOAT,
    base: str = "plain",
    rounds: Sequence[float] = (),
    at: str = "s",
) -> Judged:
    form = Form("C", "m", "m", f"{base}-{recipe}", base, recipe)
    prediction = Prediction(said_ms, 0.9 * said_ms, 1.1 * said_ms)
    return Judged(form, "s", rounds or (truth_ms, truth_ms), truth_ms, {"estimate": prediction}, nodes={"table": 1})


def test_accuracy_by_hand() -> None:
    models = [_judged(10, 10.4, rounds=(10.0, 10.1)), _judged(10, 9.2, rounds=(10.0, 8.0)), _judged(20, 30)]
    found = accuracy(pairs_of(models, "estimate"))
    assert found["mape"] == pytest.approx((0.04 + 0.08 + 0.5) / 3)
    assert found["bias"] == pytest.approx((0.04 - 0.08 + 0.5) / 3)
    assert (found["within_5"]["hits"], found["within_10"]["hits"], found["n"]) == (1, 2, 3)
    assert found["interval90"]["hits"] == 2
    assert found["interval90"]["mean_width"] == pytest.approx(0.2)
    assert found["noise"]["mape"] == pytest.approx((0.01 + 0.2 + 0.0) / 3)
    assert found["noise"]["within_10"]["hits"] == 2


def test_order_and_regret_of_close_candidates() -> None:
    truths, said = [10.0, 10.5, 11.0, 11.5, 11.9, 20.0], [3.0, 1.0, 2.0, 4.0, 5.0, 9.0]
    group = pairs_of([_judged(t, s) for t, s in zip(truths, said, strict=True)], "estimate")
    found = ranking([group])
    assert found["spearman"] == pytest.approx(spearmanr(truths, said).statistic)
    assert (found["windows"], found["close_spearman"]) == (1, pytest.approx(spearmanr(truths[:5], said[:5]).statistic))
    assert found["worst_regret"] == pytest.approx(0.05)
    assert found["chosen_within_2"]["hits"] == 0


def test_signs_count_where_the_difference_is_real() -> None:
    def pair(truths: tuple[float, float], said: tuple[float, float]) -> tuple:
        return tuple((m, m.predictions["estimate"]) for m in map(_judged, truths, said))

    found = signs([pair((10, 4), (9, 5)), pair((10, 15), (9, 5)), pair((10, 10.3), (9, 12))])
    assert (found["hits"], found["n"], len(found["wrong"])) == (1, 2, 1)


def test_anchors_take_out_a_common_factor_and_are_not_scored() -> None:
    truths = {("plain", FLOAT): 10.0, ("plain", INT8): 4.0, ("plain", "front:0.5"): 7.0, ("pruned", FLOAT): 8.0}
    models = [_judged(t, 1.3 * t, base=base, recipe=recipe) for (base, recipe), t in truths.items()]
    pairs = anchored(models, "estimate", 2)
    assert [judged.form.recipe for judged, _ in pairs] == ["front:0.5", FLOAT]
    np.testing.assert_allclose([p.latency_ms for _, p in pairs], [7.0, 8.0])
    assert [p.latency_ms for _, p in anchored(models, "estimate", 0)] == pytest.approx([13.0, 5.2, 9.1, 10.4])


def test_the_package_corrects_its_own_estimates() -> None:
    prior = AnchorPrior()
    truths = {FLOAT: 10.0, INT8: 4.0, "front:0.5": 7.0}
    models = []
    for recipe, truth_ms in truths.items():
        estimate = EstimatedLatency(1.2 * truth_ms, Interval(truth_ms, 9 * truth_ms), 0.0, 1)
        correctable = {"estimate": Anchorable(Candidate(estimate, {}), prior)}
        models.append(replace(_judged(truth_ms, 1.2 * truth_ms, recipe=recipe), anchorable=correctable))
    ((judged, before),) = [pair for pair in anchored(models, "estimate", 0) if pair[0].form.recipe == "front:0.5"]
    ((same, after),) = anchored(models, "estimate", 2)
    assert same is judged
    assert before.latency_ms == pytest.approx(8.4)
    assert after.latency_ms == pytest.approx(7.0, rel=0.05)
    assert after.low_ms is not None and after.high_ms is not None
    assert after.high_ms - after.low_ms < 3.0


def test_targets_are_missed_by_bad_estimates_and_met_by_good_ones() -> None:
    truths = [10.0 + 0.4 * i for i in range(12)]
    recipes = [FLOAT, INT8, *("front:0.5",) * 10]
    turns = [(-1) ** i for i in range(12)]
    found = [
        scores([_judged(t, t * (1 + e * turn), recipe=r) for t, r, turn in zip(truths, recipes, turns, strict=True)])
        for e in (0.001, 0.3)
    ]
    good, bad = ({row["target"]: row["met"] for row in targets(s)} for s in found)
    assert good["candidates, k=2: MAPE"] and good["candidates, k=2: within 5 %"]
    assert good["candidates, k=2: Spearman"] and good["nodes priced"]
    assert not any(bad[name] for name in bad if name.startswith("candidates, k=2"))


def test_an_operator_without_a_price_misses_the_target() -> None:
    judged = _judged(10, 10)
    unpriced = Judged(judged.form, "s", (10, 10), 10.0, judged.predictions, nodes={"table": 3, "unpriced": 1})
    row = next(r for r in targets(scores([unpriced])) if r["target"] == "nodes priced")
    assert (row["value"], row["met"]) == (0.75, False)


# Baselines


def test_linear_baselines_find_the_slopes() -> None:
    rng = np.random.default_rng(0)
    works = [Work(*rng.uniform(0.1, 5, 4)) for _ in range(20)]
    observed = [(w, 0.5 + 20 * w.float_gmacs + 6 * w.int8_gmacs + 0.1 * w.float_mbytes) for w in works]
    line = LinearModel(observed, with_bytes=True)
    np.testing.assert_allclose(line.slopes, [0.5, 20, 6, 0.1, 0], atol=1e-6)
    assert line.predict_ms(Work(1, 1, 0, 0)) == pytest.approx(26.5)

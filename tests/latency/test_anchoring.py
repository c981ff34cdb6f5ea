"""Estimates corrected by what was measured of other candidates of the same model."""

from __future__ import annotations

import numpy as np
import pytest

from autocompress.errors import TableError
from autocompress.latency.anchoring import Anchor, AnchorPrior, Candidate, Deviations, fit_anchoring
from autocompress.latency.composition import KINDS
from autocompress.measurement import EstimatedLatency, Interval

PRIOR = AnchorPrior(Deviations(0.1, 0.1, 0.01), Deviations(0.2, 0.2, 0.05))


def candidate(latency_ms: float = 2.0, coverage: float = 1.0, **shares: float) -> Candidate:
    estimate = EstimatedLatency(latency_ms, Interval(0.8 * latency_ms, 1.3 * latency_ms), coverage, 10)
    return Candidate(estimate, shares or {"conv_float": 1.0})


def relative_width(estimate: EstimatedLatency) -> float:
    return (estimate.interval90_ms.high - estimate.interval90_ms.low) / estimate.latency_ms


def test_without_anchors_an_estimate_is_what_it_was() -> None:
    asked = candidate()
    assert PRIOR.correct(asked, []) is asked.estimate


def test_one_anchor_is_close_to_a_plain_factor() -> None:
    found = PRIOR.correct(candidate(), [Anchor(candidate(10.0), 11.0)])
    assert found.latency_ms == pytest.approx(2.2, rel=0.01)
    assert found.interval90_ms.low < found.latency_ms < found.interval90_ms.high
    assert found.coverage == 1.0


def test_two_anchors_correct_by_kind() -> None:
    float_model, int8_model = candidate(conv_float=1.0), candidate(conv_int8=1.0)
    anchors = [Anchor(float_model, 2.0), Anchor(int8_model, 2.4)]
    mostly_float = PRIOR.correct(candidate(conv_float=0.9, conv_int8=0.1), anchors)
    mostly_int8 = PRIOR.correct(candidate(conv_float=0.1, conv_int8=0.9), anchors)
    other = PRIOR.correct(candidate(product_float=1.0), anchors)
    assert mostly_float.latency_ms < 2.08
    assert mostly_int8.latency_ms > 2.3
    assert mostly_float.latency_ms < other.latency_ms < mostly_int8.latency_ms


def test_what_is_like_an_anchor_is_known_best() -> None:
    anchors = [Anchor(candidate(conv_float=1.0), 2.1)]
    alike, unlike = (PRIOR.correct(candidate(**{kind: 1.0}), anchors) for kind in ("conv_float", "movement"))
    assert relative_width(alike) < relative_width(unlike)
    more = [*anchors, Anchor(candidate(movement=1.0), 2.2)]
    assert relative_width(PRIOR.correct(candidate(movement=1.0), more)) < relative_width(unlike)


def test_estimates_from_forests_give_in_more() -> None:
    sure, unsure = candidate(coverage=1.0), candidate(coverage=0.0)
    prior = AnchorPrior(Deviations(0.02, 0.0, 0.04), Deviations(0.2, 0.0, 0.04))
    by_table = prior.correct(sure, [Anchor(sure, 3.0)]).latency_ms
    by_forest = prior.correct(unsure, [Anchor(unsure, 3.0)]).latency_ms
    assert 2.0 < by_table < 2.5 < by_forest < 3.0


def test_the_posterior_is_that_of_a_gaussian_process() -> None:
    """Against the same prior conditioned by brute force: a joint normal of common term, kinds and noise."""
    deviations = Deviations(0.07, 0.05, 0.02)
    prior = AnchorPrior(deviations, deviations)
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(len(KINDS)), 4)
    people = [candidate(2.0, **dict(zip(KINDS, row.tolist(), strict=True))) for row in shares]
    residuals = rng.normal(0, 0.1, 3)
    anchors = [Anchor(c, 2.0 * float(np.exp(r))) for c, r in zip(people[:3], residuals, strict=True)]
    loadings = np.hstack([np.full((4, 1), 0.07), 0.05 * shares, 0.02 * np.eye(4)])
    joint = loadings @ loadings.T
    expected = joint[3, :3] @ np.linalg.inv(joint[:3, :3]) @ residuals
    variance = joint[3, 3] - joint[3, :3] @ np.linalg.inv(joint[:3, :3]) @ joint[:3, 3]
    mean, deviation = prior.posterior(people[3], anchors)
    assert mean == pytest.approx(expected)
    assert deviation == pytest.approx(np.sqrt(variance))


def drawn(models: int, common: float, kind: float, noise: float, seed: int = 0) -> list[list[Anchor]]:
    rng = np.random.default_rng(seed)
    groups = []
    for _ in range(models):
        shift, by_kind = rng.normal(0, common), rng.normal(0, kind, len(KINDS))
        group = []
        for _ in range(7):
            shares = rng.dirichlet(0.3 * np.ones(len(KINDS)))
            error = shift + shares @ by_kind + rng.normal(0, noise)
            group.append(
                Anchor(candidate(2.0, **dict(zip(KINDS, shares.tolist(), strict=True))), 2.0 * float(np.exp(error)))
            )
        groups.append(group)
    return groups


def test_the_deviations_are_recovered_and_intervals_hold() -> None:
    groups = drawn(60, 0.04, 0.08, 0.02)
    prior = fit_anchoring(groups, groups)
    assert (prior.table.common, prior.table.kind, prior.table.noise) == (0.04, 0.08, 0.02)
    assert prior.table.factor90 == pytest.approx(1.645, rel=0.1)
    held = []
    for group in drawn(200, 0.04, 0.08, 0.02, seed=1):
        for asked in group[2:]:
            found = prior.correct(asked.candidate, group[:2])
            held.append(found.interval90_ms.low <= asked.measured_ms <= found.interval90_ms.high)
    assert 0.86 <= np.mean(held) <= 0.94


def test_anchors_help() -> None:
    prior = fit_anchoring(drawn(60, 0.08, 0.08, 0.02), drawn(60, 0.08, 0.08, 0.02))
    errors = {k: [] for k in (0, 1, 2, 4)}  # type: dict[int, list[float]]
    for group in drawn(100, 0.08, 0.08, 0.02, seed=1):
        for k, found in errors.items():
            found += [abs(prior.correct(a.candidate, group[:k]).latency_ms / a.measured_ms - 1) for a in group[4:]]
    means = [np.mean(found) for found in errors.values()]
    assert means == sorted(means, reverse=True)
    assert means[2] < 0.6 * means[0]


def test_few_candidates_calibrate_nothing() -> None:
    assert fit_anchoring(drawn(2, 0.1, 0.1, 0.1), drawn(2, 0.1, 0.1, 0.1)) == AnchorPrior()


def test_what_stands_on_the_card_comes_back() -> None:
    assert AnchorPrior.from_dict(PRIOR.to_dict()) == PRIOR
    with pytest.raises(TableError, match="train them again"):
        AnchorPrior.from_dict({"table": {}})

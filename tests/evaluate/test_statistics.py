import math

import numpy as np
import pytest
from scipy import stats

from autocompress.errors import MetricError
from autocompress.evaluate import StopRule, clearly_fine, clearly_worse, paired_drop
from autocompress.evaluate.intervals import is_sparse, mean_interval, student_quantile, tango_interval
from autocompress.evaluate.metrics import Miou, Spearman
from autocompress.evaluate.statistics import group_of, jackknife_interval

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def fresh_randomness():
    """Each test draws the same numbers, whichever run before it."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def multinomial(lost, won, n, p_lost, p_won):
    kept = n - lost - won
    logs = [math.lgamma(n + 1), -math.lgamma(lost + 1), -math.lgamma(won + 1), -math.lgamma(kept + 1)]
    for count, p in ((lost, p_lost), (won, p_won), (kept, 1 - p_lost - p_won)):
        if p == 0 and count:
            return 0.0
        logs.append(count * math.log(p) if count else 0.0)
    return math.exp(math.fsum(logs))


@pytest.mark.parametrize("n", [8, 20, 60])
@pytest.mark.parametrize(
    ("p_lost", "p_won"), [(0.001, 0.001), (0.01, 0), (0.02, 0.01), (0.05, 0), (0.1, 0.05), (0.3, 0)]
)
def test_tango_covers_exactly_computed(n, p_lost, p_won):
    """No simulation: coverage is summed over every possible outcome."""
    covered = 0.0
    for lost in range(n + 1):
        for won in range(n + 1 - lost):
            weight = multinomial(lost, won, n, p_lost, p_won)
            if weight > 1e-7:
                interval = tango_interval(lost, won, n)
                covered += weight * (interval.low - 1e-12 <= p_lost - p_won <= interval.high + 1e-12)
    assert covered >= 0.93


def test_tango_matches_the_published_example_and_its_definition():
    # Tango (1998), table II: 44 pairs, 0 and 1 discordant of 43+1: the interval contains zero and is asymmetric.
    interval = tango_interval(1, 0, 44)
    assert interval.low < 0 < 1 / 44 < interval.high
    assert interval.high - 1 / 44 > 1 / 44 - interval.low
    # Without discordant pairs the limits have the closed form z^2 / (n + z^2).
    z2 = stats.norm.ppf(0.975) ** 2
    for n in (10, 240):
        assert tango_interval(0, 0, n).to_list() == pytest.approx([-z2 / (n + z2), z2 / (n + z2)], abs=1e-9)
    assert tango_interval(5, 2, 50).low == pytest.approx(-tango_interval(2, 5, 50).high, abs=1e-9)
    assert tango_interval(10, 0, 10).high == pytest.approx(1.0)


def test_binary_scores_without_a_flip_keep_an_interval():
    scores = (RNG.random(240) < 0.8).astype(float)
    drop = paired_drop(scores, scores, True)
    assert (drop.drop, drop.n, drop.method) == (0.0, 240, "tango-score")
    assert drop.ci95.high == pytest.approx(0.0158, abs=1e-3)


def test_direction():
    baseline, candidate = np.array([1.0, 2.0, 3.5]), np.array([0.5, 1.8, 3.0])
    assert paired_drop(baseline, candidate, True, continuous=True).drop == pytest.approx(0.4)
    assert paired_drop(baseline, candidate, False, continuous=True).drop == pytest.approx(-0.4)
    binary = paired_drop(np.array([1.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0]), True)
    assert binary.drop == 0.25
    assert binary.ci95.low < 0.25 < binary.ci95.high


DISTRIBUTIONS = {
    "normal": (lambda n: RNG.normal(0.1, 1.0, n), 0.1),
    "heavy tails": (lambda n: RNG.laplace(0.0, 1.0, n), 0.0),
    "skewed": (lambda n: RNG.exponential(1.0, n), 1.0),
}


@pytest.mark.parametrize("n", [8, 20, 80])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_coverage_of_the_mean(name, n):
    draw, mean = DISTRIBUTIONS[name]
    repeats = 250
    covered = sum(i.low <= mean <= i.high for i in (mean_interval(draw(n)) for _ in range(repeats)))
    assert covered / repeats >= 0.93 - 1.7 * math.sqrt(0.93 * 0.07 / repeats)


def test_skewness_is_followed_where_t_alone_fails():
    repeats, n, mean = 400, 40, math.exp(0.5)
    samples = RNG.lognormal(0.0, 1.0, (repeats, n))
    t = stats.t.interval(0.95, n - 1, samples.mean(1), stats.sem(samples, axis=1))
    covered_t = ((t[0] <= mean) & (mean <= t[1])).mean()
    covered = np.mean([i.low <= mean <= i.high for i in map(mean_interval, samples)])
    assert covered >= 0.91
    assert covered > covered_t + 0.015


def test_rare_jumps_of_bounded_scores():
    """Scores within [0, 1], such as a detector's per image, of which 2 in 100 change."""
    repeats, n, mean = 300, 80, 0.02 * 0.4
    covered = 0
    for _ in range(repeats):
        baseline = np.full(n, 0.9)
        candidate = np.where(RNG.random(n) < 0.02, 0.9 - RNG.uniform(0.0, 0.8, n), baseline)
        drop = paired_drop(baseline, candidate, True)
        covered += drop.ci95.low <= mean <= drop.ci95.high
    assert covered / repeats >= 0.93
    assert is_sparse(np.array([0.0] * 50 + [0.1]))
    assert not is_sparse(np.linspace(0.1, 1, 50))


def test_many_samples_equal_student():
    values = RNG.normal(0.0, 1.0, 5000)
    expected = stats.t.interval(0.95, 4999, values.mean(), stats.sem(values))
    assert mean_interval(values).to_list() == pytest.approx(list(expected))


def test_intervals_are_repeatable():
    values = RNG.exponential(1.0, 30)
    assert mean_interval(values) == mean_interval(values)


def test_too_few_samples_and_shapes():
    with pytest.raises(MetricError, match="at least 2"):
        paired_drop(np.ones(1), np.ones(1), True)
    with pytest.raises(ValueError, match="not paired"):
        paired_drop(np.ones(3), np.ones(4), True)


def jackknife(metric, baseline, candidate, groups):
    group = group_of(len(baseline), min(groups, len(baseline)))
    left = [metric.finish(baseline[group != g]) - metric.finish(candidate[group != g]) for g in range(group.max() + 1)]
    return jackknife_interval(metric.finish(baseline) - metric.finish(candidate), np.array(left))


def spearman_rows(n):
    truth = RNG.standard_normal(n)
    baseline = truth + 0.4 * RNG.standard_normal(n)
    candidate = baseline + 0.3 * RNG.standard_normal(n)
    return np.stack([baseline, truth], 1), np.stack([candidate, truth], 1)


def miou_rows(n, classes=4, pixels=48):
    metric = Miou(outputs=("y",), needs_labels=True, classes=classes)
    truth = RNG.choice(classes, (n, pixels), p=[0.5, 0.25, 0.15, 0.1])
    shares = RNG.beta(1, 8, (2, n, 1))
    baseline = np.where(RNG.random(truth.shape) < shares[0], RNG.integers(0, classes, truth.shape), truth)
    candidate = np.where(RNG.random(truth.shape) < shares[1], RNG.integers(0, classes, truth.shape), baseline)
    pairs = [[metric._count(p, t) for p, t in zip(made, truth, strict=True)] for made in (baseline, candidate)]
    return np.array(pairs[0]), np.array(pairs[1])


@pytest.mark.parametrize(
    ("metric", "draw"),
    [
        (Spearman(outputs=("y",), needs_labels=True), spearman_rows),
        (Miou(outputs=("y",), needs_labels=True, classes=4), miou_rows),
    ],
    ids=["spearman", "miou"],
)
@pytest.mark.parametrize("n", [20, 60])
def test_coverage_of_set_metrics(metric, draw, n):
    baseline, candidate = draw(20_000)
    truth = metric.finish(baseline) - metric.finish(candidate)
    repeats = 150
    intervals = [jackknife(metric, *draw(n), groups=20) for _ in range(repeats)]
    assert np.mean([i.low <= truth <= i.high for i in intervals]) >= 0.93 - 1.7 * math.sqrt(0.93 * 0.07 / repeats)


def test_jackknife_of_a_mean_is_the_t_interval():
    values = RNG.normal(0.0, 1.0, 15)
    left_out = np.array([np.delete(values, k).mean() for k in range(15)])
    expected = stats.t.interval(0.95, 14, values.mean(), stats.sem(values))
    assert jackknife_interval(values.mean(), left_out).to_list() == pytest.approx(list(expected))


def test_student_quantiles():
    assert student_quantile(0.975, 3) == pytest.approx(stats.t.ppf(0.975, 3))


def run_to_verdict(rule, candidate):
    for look in rule.looks:
        verdict = rule.decide(candidate[:look])
        if verdict:
            return verdict, look
    return None, len(candidate)


def flips(n, share):
    baseline = np.ones(n)
    return baseline, np.where(RNG.random(n) < share, 0.0, baseline)


def test_looks_double_and_leave_out_the_end():
    assert StopRule(np.ones(128), 0.01).looks == (16, 32, 64)
    assert StopRule(np.ones(129), 0.01).looks == (16, 32, 64, 128)
    assert StopRule(np.ones(10), 0.01).looks == ()
    assert StopRule(np.ones(129), 0.01).next_look(16) == 32
    assert StopRule(np.ones(129), 0.01).next_look(128) is None


@pytest.mark.parametrize("limit", [0.01, 0.05])
def test_repeated_looks_keep_their_error_rate_for_binary_scores(limit):
    """Candidates exactly at the limit, looked at again and again: called out (or in) at most alpha of the time."""
    verdicts = []
    for _ in range(600):
        baseline, candidate = flips(300, limit)
        verdicts.append(run_to_verdict(StopRule(baseline, limit, stops_when_fine=True), candidate)[0])
    slack = 2 * math.sqrt(0.05 * 0.95 / 600)
    assert verdicts.count("worse") / 600 <= 0.05 + slack
    assert verdicts.count("fine") / 600 <= 0.05 + slack


@pytest.mark.parametrize("draw", [lambda n: RNG.normal(0.1, 0.5, n), lambda n: RNG.exponential(0.1, n)])
def test_repeated_looks_keep_their_error_rate_for_other_scores(draw):
    verdicts = []
    for _ in range(200):
        losses = draw(200)
        rule = StopRule(np.zeros(200), 0.1, continuous=True, stops_when_fine=True)
        verdicts.append(run_to_verdict(rule, -losses)[0])
    slack = 2 * math.sqrt(0.05 * 0.95 / 200)
    assert verdicts.count("worse") / 200 <= 0.05 + slack
    assert verdicts.count("fine") / 200 <= 0.05 + slack


def test_bad_candidates_are_stopped_soon():
    stops = [run_to_verdict(StopRule(b, 0.01), c)[1] for b, c in (flips(300, 0.5) for _ in range(50))]
    assert np.mean(stops) < 20
    stops = [run_to_verdict(StopRule(b, 0.01), c)[1] for b, c in (flips(300, 0.15) for _ in range(50))]
    assert np.mean(stops) < 120


def test_single_looks():
    baseline, candidate = np.ones(50), np.r_[np.zeros(15), np.ones(35)]
    assert clearly_worse(baseline, candidate, 0.01, 0.05)
    assert not clearly_worse(baseline, candidate, 0.3, 0.05)
    assert clearly_fine(baseline, candidate, 0.6, 0.05)
    assert not clearly_fine(baseline, candidate, 0.3, 0.05)
    lower = -np.ones(50)
    assert clearly_worse(lower, -candidate, 0.01, 0.05, higher_is_better=False)

import pickle

import numpy as np
import pytest

from autocompress.data import data_spec, open_source
from autocompress.errors import CandidateFailed, DataError, MetricError, ModelError
from autocompress.evaluate import (
    StopRule,
    evaluate,
    evaluate_reference,
    measure_damage,
    measure_drop,
    record_reference,
    resolve_metric,
)
from autocompress.evaluate.metrics import Spearman, Top1

RNG = np.random.default_rng(0)
N = 200
X = RNG.standard_normal((N, 6)).astype(np.float32)
W = RNG.standard_normal((6, 4)).astype(np.float32)
LABELS = np.where(RNG.random(N) < 0.9, (X @ W).argmax(1), RNG.integers(0, 4, N))
TOP1 = Top1(outputs=("y0",), needs_labels=True, classes=4)


@pytest.fixture
def make_source(tmp_path):
    def make(session, **arrays):
        np.savez(tmp_path / "d.npz", **({"x": X, "labels": LABELS} | arrays))
        return open_source(data_spec(tmp_path / "d.npz"), session.inputs)

    return make


@pytest.mark.parametrize("batch_size", [1, 7, 500])
def test_value_and_scores(make_source, linear, batch_size):
    session = linear(W)
    order = RNG.permutation(N)[:150]
    result = evaluate(session, make_source(session), order, TOP1, batch_size=batch_size)
    expected = (X[order] @ W).argmax(1) == LABELS[order]
    np.testing.assert_array_equal(result.scores, expected)
    assert (result.value, result.n, result.stopped_early) == (expected.mean(), 150, False)
    np.testing.assert_array_equal(result.indices, order)
    assert result.accuracy.metric == "top1"
    assert session.runs == -(-150 // batch_size)
    assert pickle.loads(pickle.dumps(result)).value == result.value


def test_a_model_with_a_fixed_batch_is_run_one_by_one(make_source, linear):
    session = linear(W, batch=1)
    assert evaluate(session, make_source(session), range(20), TOP1, batch_size=8).n == 20
    assert session.runs == 20


def test_fidelity_against_recorded_outputs(make_source, linear, tmp_path):
    original, candidate = linear(W, W[:, :2]), linear(W + 0.1, W[:, :2])
    source = make_source(original)
    reference = record_reference(original, source, range(10, 100), batch_size=16, folder=tmp_path / "reference")
    reference = pickle.loads(pickle.dumps(reference))
    assert (reference.names, sorted(p.name for p in (tmp_path / "reference").iterdir())) == (
        ("y0", "y1"), ["0.npy", "1.npy"],
    )  # fmt: skip
    shuffled = RNG.permutation(np.arange(10, 100))
    np.testing.assert_allclose(reference.outputs(shuffled)["y0"], X[shuffled] @ W, atol=1e-5)
    metric = resolve_metric(None, outputs=reference.outputs(range(10, 30)), labels=None)
    assert (metric.name, metric.outputs) == ("cosine", ("y0", "y1"))
    baseline = evaluate_reference(reference, source, shuffled, metric)
    assert baseline.value == 1.0
    result = evaluate(candidate, source, shuffled, metric, reference=reference)
    a, b = X[shuffled] @ W, X[shuffled] @ (W + 0.1)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(result.scores, (1 + cosine) / 2, atol=1e-5)
    drop = measure_drop(baseline, result, metric)
    assert drop.method == "bootstrap-t"
    assert 0 <= drop.ci95.low < drop.drop < drop.ci95.high
    assert measure_drop(baseline, baseline, metric).ci95.to_list() == [0.0, 0.0]
    with pytest.raises(KeyError):
        reference.outputs([5])
    with pytest.raises(MetricError, match="not recorded"):
        evaluate(candidate, source, [10], metric)


def test_set_metrics_keep_rows_and_give_an_interval(make_source, linear):
    w = W[:, :1]
    session, worse = linear(w), linear(w + 0.4)
    source = make_source(session, labels=(X @ w)[:, 0] + 0.1 * RNG.standard_normal(N))
    metric = Spearman(outputs=("y0",), needs_labels=True)
    baseline, candidate = (evaluate(s, source, range(N), metric) for s in (session, worse))
    assert baseline.scores is None
    assert baseline.rows.shape == (N, 2)
    drop = measure_drop(baseline, candidate, metric)
    assert drop.method == "jackknife"
    assert 0 < drop.ci95.low < drop.drop < drop.ci95.high


def test_other_samples_do_not_pair(make_source, linear):
    source = make_source(linear(W))
    a, b = (evaluate(linear(W), source, indices, TOP1) for indices in (range(10), range(10, 20)))
    with pytest.raises(ValueError, match="different samples"):
        measure_drop(a, b, TOP1)


def test_stops_early_when_clearly_out_and_when_clearly_in(make_source, linear):
    source, order = make_source(linear(W)), RNG.permutation(N)
    baseline = evaluate(linear(W), source, order, TOP1)
    rule = StopRule(baseline.scores, limit=0.01)
    bad = evaluate(linear(-W), source, order, TOP1, stop=rule)
    assert (bad.verdict, bad.n) == ("worse", 16)
    assert bad.value == bad.scores.mean()
    good = evaluate(linear(W), source, order, TOP1, stop=rule)
    assert (good.verdict, good.n) == (None, N)
    wide = StopRule(baseline.scores, limit=0.15, stops_when_fine=True)
    fine = evaluate(linear(W), source, order, TOP1, stop=wide, batch_size=10)
    assert (fine.verdict, fine.n) == ("fine", 40)  # the first batch that ends beyond the look at 32


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite(make_source, linear, value):
    broken = W.copy()
    broken[0, 0] = value
    session = linear(W, broken)
    source = make_source(session)
    name = "Inf" if np.isinf(value) else "NaN"
    with pytest.raises(CandidateFailed, match=f"Output 'y1' holds {name} at sample 3"):
        evaluate(session, source, [3, 4], TOP1)
    with pytest.raises(ModelError, match="Output 'y1'"):
        record_reference(session, source, range(5))


def test_mistakes_are_named(make_source, linear):
    source = make_source(linear(W))
    with pytest.raises(MetricError, match="no samples"):
        evaluate(linear(W), source, [], TOP1)
    with pytest.raises(MetricError, match="'z', which the model does not have"):
        evaluate(linear(W), source, [0], Top1(outputs=("z",), needs_labels=True, classes=4))
    with pytest.raises(DataError, match="Label"):
        evaluate(linear(W[:, :2]), source, range(N), Top1(outputs=("y0",), needs_labels=True, classes=2))


def test_damage_is_the_lost_variance(make_source, linear):
    source = make_source(linear(W))
    reference = record_reference(linear(W), source, range(100))
    damages = []
    for noise in (0.0, 0.01, 0.1):
        changed = W * (1 + noise * np.arange(4))
        damage = measure_damage(linear(changed), source, range(50), reference, batch_size=8)
        y0, y = X[:50] @ W, X[:50] @ changed
        expected = (((y - y0) ** 2).sum(0) / ((y0 - y0.mean(0)) ** 2).sum(0)).mean()
        assert damage.value == pytest.approx(expected, rel=1e-3, abs=1e-10)
        assert damage.n == 50
        damages.append(damage)
    assert damages[0].kl["y0"] == pytest.approx(0, abs=1e-9)
    assert damages[0].kl["y0"] < damages[1].kl["y0"] < damages[2].kl["y0"]


def test_damage_judges_channels_of_all_scales(make_source, linear):
    """An output with boxes in the hundreds and scores below one: losing the scores must show."""
    both = np.concatenate([300 * W[:, :2], 0.3 * W[:, 2:]], axis=1)
    without_scores = both.copy()
    without_scores[:, 2:] = 0
    source = make_source(linear(both))
    reference = record_reference(linear(both), source, range(50))
    damage = measure_damage(linear(without_scores), source, range(50), reference)
    assert damage.value == pytest.approx(0.5, abs=0.05)


def test_damage_of_a_detector_sees_lost_objects_and_no_noise_in_the_background(make_source, linear):
    """Objects are at 1 place of 40; what the class scores are elsewhere does not matter."""
    rng = np.random.default_rng(4)
    found = rng.random((N, 40)) < 1 / 40
    score = np.where(found, 0.9, 1e-5)
    noise = rng.uniform(0.001, 0.01, (N, 40))
    boxes = rng.standard_normal((N, 40, 2)) * 20

    def output(score, classes):
        return np.concatenate([boxes, score[..., None], classes[..., None]], -1).astype(np.float32)

    original = output(score, np.where(found, 0.8, noise))
    others = {"background": output(score, np.where(found, 0.8, 10 * noise)), "objects": output(score * 0.05, noise)}
    source = make_source(linear(W))

    class Recorded:
        def __init__(self, values):
            self.values, self.inputs, self.at = values, linear(W).inputs, 0

        def run(self, feeds):
            n = len(feeds["x"])
            self.at += n
            return {"y": self.values[self.at - n : self.at]}

    reference = record_reference(Recorded(original), source, range(50), batch_size=10)
    values = {k: measure_damage(Recorded(v), source, range(50), reference).value for k, v in others.items()}
    assert values["background"] < 0.01
    assert 0.4 < values["objects"] < 1.0
    assert measure_damage(Recorded(original), source, range(50), reference, batch_size=7).value == 0.0


def test_damage_is_bounded_and_monotone(make_source, linear):
    source = make_source(linear(W))
    reference = record_reference(linear(W), source, range(50))
    values = [measure_damage(linear(W * k), source, range(50), reference).value for k in (1.5, 1.99, 2.01, 10, 1000)]
    assert values == sorted(values)
    assert values[-1] <= 2.0


def test_damage_of_one_sample_and_of_a_constant(make_source, linear):
    source = make_source(linear(W))
    constant = np.zeros((6, 3))
    reference = record_reference(linear(W, constant), source, range(5))
    damage = measure_damage(linear(W * 1.1, constant), source, [2], reference)
    assert damage.relative_error["y0"] == pytest.approx(0.01, rel=1e-3)
    assert damage.relative_error["y1"] == 0.0
    with pytest.raises(MetricError, match="another shape"):
        measure_damage(linear(W[:, :2], constant), source, [2], reference)

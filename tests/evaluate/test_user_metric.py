import pickle
import sys
import time

import numpy as np
import pytest

from autocompress.data import ModelInput, data_spec, open_source
from autocompress.errors import MetricError
from autocompress.evaluate import (
    affordable_groups,
    evaluate,
    evaluate_reference,
    measure_drop,
    record_reference,
    resolve_metric,
)
from autocompress.evaluate.intervals import tango_interval
from autocompress.evaluate.metrics import user_metric

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 6)).astype(np.float32)
W = RNG.standard_normal((6, 4)).astype(np.float32)


def hits(outputs, data):
    return outputs["y0"].argmax(1) == data["labels"]


def share(outputs, data):
    return hits(outputs, data).mean()


def error(outputs, data):
    return np.abs(outputs["y0"]).mean(axis=1)


error.lower_is_better = True


def keyed(outputs, data):
    """Matches whole arrays by ``sample_index``, as a detector's boxes are."""
    boxes = data["boxes"]
    return np.mean([boxes[boxes[:, 0] == i, 1].sum() == i for i in data["sample_index"]])


def greedy(outputs, data):
    outputs["y0"] -= 1000.0  # changes what it is given
    data["boxes"][:] = 0
    return float(outputs["y0"].mean())


@pytest.fixture
def source(tmp_path):
    boxes = np.array([(i, i / 2) for i in range(30) for _ in range(2)])
    np.savez(tmp_path / "d.npz", x=X, labels=(X @ W).argmax(1) ^ (np.arange(30) % 3 == 0), boxes=boxes)
    return open_source(data_spec(tmp_path / "d.npz"), [ModelInput("x", "float32", ("N", 6))])


def test_scores_per_sample_and_one_number_agree(source, linear):
    session = linear(W)
    scores = evaluate(session, source, range(30), user_metric(hits), batch_size=4)
    number = evaluate(session, source, range(30), user_metric(share), left_out_groups=10)
    assert scores.value == number.value == 20 / 30
    assert scores.scores.shape == (30,)
    assert number.scores is None
    assert number.left_out.shape == (10,)
    for g in range(10):
        assert number.left_out[g] == pytest.approx(scores.scores[np.arange(30) % 10 != g].mean())
    assert evaluate(session, source, range(30), user_metric(share)).left_out is None


def test_slow_functions_are_called_less_often(source, linear):
    assert affordable_groups(0.0) == affordable_groups(0.001) == 20
    assert affordable_groups(3.0) == 10
    assert affordable_groups(100.0) == 5
    slow = user_metric(lambda outputs, data: time.sleep(0.02) or 1.0)
    assert 0.02 <= evaluate(linear(W), source, range(5), slow, left_out_groups=5).metric_seconds < 0.1


def test_order_and_sample_index(source, linear):
    order = RNG.permutation(30)[:12]
    assert evaluate(linear(W), source, order, user_metric(keyed)).value == 1.0
    straight = evaluate(linear(W), source, range(30), user_metric(hits)).scores
    np.testing.assert_array_equal(evaluate(linear(W), source, order, user_metric(hits)).scores, straight[order])


def test_a_function_may_change_what_it_is_given(source, linear):
    first = evaluate(linear(W), source, range(30), user_metric(greedy), left_out_groups=5)
    second = evaluate(linear(W), source, range(30), user_metric(greedy))
    assert first.value == second.value == pytest.approx(float((X @ W).mean()) - 1000, abs=1e-3)
    assert first.left_out.mean() == pytest.approx(first.value, abs=0.1)
    assert source.extras([0])["boxes"].any()


def test_direction_is_read_from_the_function():
    assert not user_metric(error).higher_is_better
    assert user_metric(hits).higher_is_better
    assert resolve_metric(error, outputs={}, labels=None).name == "error"


def test_drop_of_a_set_metric_is_the_jackknife(source, linear):
    metric = user_metric(share)
    baseline = evaluate(linear(W), source, range(30), metric, left_out_groups=20)
    candidate = evaluate(linear(W * [1, 2, 1, 3]), source, range(30), metric, left_out_groups=20)
    drop = measure_drop(baseline, candidate, metric)
    assert drop.method == "jackknife"
    assert drop.drop == pytest.approx(baseline.value - candidate.value)
    assert drop.ci95.low < drop.drop < drop.ci95.high
    unchanged = measure_drop(baseline, baseline, metric).ci95  # a jackknife without spread knows no rare flips
    assert unchanged == tango_interval(0, 0, 30)
    with pytest.raises(MetricError, match="groups"):
        measure_drop(evaluate(linear(W), source, range(30), metric), candidate, metric)


def test_recorded_outputs_stand_for_the_original(source, linear):
    session = linear(W)
    reference = record_reference(session, source, range(30))
    runs = session.runs
    assert evaluate_reference(reference, source, range(5, 30), user_metric(hits)).value == pytest.approx(
        evaluate(session, source, range(5, 30), user_metric(hits)).value
    )
    assert session.runs == runs + 25


def test_named_functions_travel_by_name(tmp_path, monkeypatch, source, linear):
    (tmp_path / "own_metric.py").write_text("def half(outputs, data):\n    return 0.5\nhalf.lower_is_better = True\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    metric = resolve_metric("own_metric:half", outputs={}, labels=None)
    assert sys.path == before
    assert (metric.name, metric.higher_is_better) == ("own_metric:half", False)
    copy = pickle.loads(pickle.dumps(metric))
    assert evaluate(linear(W), source, range(5), copy).value == 0.5
    for bad, match in (("own_metric:none", "no function"), ("missing.module:f", "no module")):
        with pytest.raises(MetricError, match=match):
            resolve_metric(bad, outputs={}, labels=None)
    (tmp_path / "broken_metric.py").write_text("1 / 0")
    with pytest.raises(MetricError, match="ZeroDivisionError"):
        resolve_metric("broken_metric:f", outputs={}, labels=None)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda outputs, data: data["missing"], "asks for 'missing'.*data holds labels, boxes, sample_index"),
        (lambda outputs, data: 1 / 0, "raised ZeroDivisionError"),
        (lambda outputs, data: np.nan, "returned NaN"),
        (lambda outputs, data: np.where(np.arange(30) == 7, np.inf, 1.0), "returned Inf at position 7"),
        (lambda outputs, data: np.zeros(29), "29.*30 samples"),
        (lambda outputs, data: np.zeros((30, 2)), "30 samples"),
        (lambda outputs, data: None, "not numbers"),
        (lambda outputs, data: "good", "not numbers"),
        (lambda outputs: 1.0, "raised TypeError"),
    ],
)
def test_mistakes_are_named(source, linear, function, match):
    with pytest.raises(MetricError, match=match):
        evaluate(linear(W), source, range(30), user_metric(function))


def test_outputs_that_change_size_become_objects(tmp_path, nonzero):
    x = (RNG.random((9, 6)) < 0.4).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x)
    opened = open_source(data_spec(tmp_path / "d.npz"), nonzero.inputs)
    seen = {}

    def count(outputs, data):
        seen["dtype"], seen["y"] = outputs["y"].dtype, list(outputs["y"])
        return [len(found) for found in outputs["y"]]

    result = evaluate(nonzero, opened, range(9), user_metric(count), batch_size=8)
    np.testing.assert_array_equal(result.scores, x.sum(1))
    assert 1 in x.sum(1)[1:]  # one row found looks like one sample
    assert [found.shape for found in seen["y"]] == [(int(k), 2) for k in x.sum(1)]
    assert seen["dtype"].kind == "O"
    with pytest.raises(MetricError, match="function of your own"):
        record_reference(nonzero, opened, range(9))


def test_large_outputs_lie_on_disk(source, linear, monkeypatch):
    from autocompress.evaluate import evaluator
    from autocompress.evaluate.collect import OutputCollector

    monkeypatch.setattr(evaluator, "OutputCollector", lambda n: OutputCollector(n, in_memory_bytes=10))
    kinds = []

    def look(outputs, data):
        kinds.append(type(outputs["y0"]))
        return hits(outputs, data)

    assert evaluate(linear(W), source, range(30), user_metric(look)).value == 20 / 30
    assert kinds == [np.memmap]

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from autocompress.errors import AutocompressError
from autocompress.report import build_summary, validate_summary, write_summary
from autocompress.report.summary import mape_verified

# What issue 2 promises; written out here so that the code cannot forget a key unnoticed.
PROMISED = {
    "": "study runtime device threads metric target_speedup target_met baseline best trials seconds estimator seed "
    "versions",
    "baseline": "accuracy n latency_ms size_bytes",
    "best": "accuracy accuracy_drop accuracy_drop_ci95 n latency_ms latency_estimate_ms speedup speedup_ci95 "
    "size_bytes model recipe",
    "trials": "total complete pruned failed built",
    "seconds": "total baseline calibrate profile search verify",
    "estimator": "coverage mape_verified",
}


def test_it_has_what_was_promised(met):
    for part, keys in PROMISED.items():
        document = met.summary if part == "" else met.summary[part]
        assert set(keys.split()) <= set(document)
    json.dumps(met.summary, allow_nan=False)
    validate_summary(met.summary)


def test_its_numbers_are_the_verified_ones(met):
    best, baseline = met.summary["best"], met.summary["baseline"]
    trial = met.record.candidates[best["trial"]]
    assert met.summary["target_met"] is True
    assert best["speedup"] == trial.verified_speedup.speedup == 2.05
    assert best["accuracy_drop"] == trial.verified_drop.drop == 0.0043
    assert best["accuracy_drop_ci95"] == [trial.verified_drop.ci95.low, trial.verified_drop.ci95.high]
    assert best["accuracy"] == pytest.approx(0.7204 - 0.0043)
    assert baseline["latency_ms"] / best["latency_ms"] == pytest.approx(2.05)
    assert best["n"] == 700
    assert best["latency_estimate_ms"] == trial.estimate.latency_ms
    counts = met.summary["trials"]
    assert counts["complete"] + counts["pruned"] + counts["failed"] == counts["total"] == 120
    assert counts["built"] == counts["complete"] + counts["failed"]


def test_error_of_the_estimator_is_that_of_what_was_verified(met):
    errors = [
        abs(c.estimate.latency_ms - c.verified_speedup.b.latency_ms) / c.verified_speedup.b.latency_ms
        for c in met.record.candidates
        if c.verified_speedup
    ]
    assert len(errors) == 3
    assert met.summary["estimator"]["mape_verified"] == pytest.approx(sum(errors) / 3)
    assert mape_verified(()) is None


def test_the_direction_of_the_metric_counts(met):
    lower = build_summary(met.record, best=met.summary["best"]["trial"], model="best.onnx", higher_is_better=False)
    assert lower["best"]["accuracy"] == pytest.approx(0.7204 + 0.0043)


def test_an_unchanged_model(reported):
    found = reported(model="best.onnx")
    best = found.summary["best"]
    assert (best["trial"], best["recipe"], best["speedup"], best["accuracy_drop"]) == (None, None, 1.0, 0.0)
    assert best["size_bytes"] == found.summary["baseline"]["size_bytes"]
    validate_summary(found.summary)


def test_nothing_emitted_yet(reported):
    found = reported(bare=True, status="running")
    assert found.summary["best"] is None
    assert found.summary["baseline"]["accuracy"] is None
    validate_summary(found.summary)


def test_a_trial_that_is_not_there(met):
    with pytest.raises(ValueError, match="no trial 5000"):
        build_summary(met.record, best=5000)


def test_what_is_missing_is_named(met, tmp_path):
    broken = {k: v for k, v in met.summary.items() if k != "seed"}
    broken["best"] = {k: v for k, v in met.summary["best"].items() if k != "speedup_ci95"}
    with pytest.raises(AutocompressError, match=r"lacks seed, best\.speedup_ci95") as error:
        write_summary(broken, tmp_path)
    assert error.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_written_summaries_are_plain_json(met, tmp_path):
    odd = replace(met.record, header=replace(met.record.header, baseline={"accuracy": math.inf, "n": 10}))
    path = write_summary(build_summary(odd), tmp_path / "new")
    document = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert document["baseline"]["accuracy"] is None
    assert document["study"] == "mobilenetv2-2x"


@pytest.mark.parametrize(
    ("config", "latency_ms"),
    [
        ({"target_latency": "5ms"}, 5.0),
        ({"target_latency": "800us"}, 0.8),
        ({"target_latency_ms": 4.0}, 4.0),
        ({}, None),
    ],
)
def test_a_latency_target_is_a_number_of_milliseconds(reported, config, latency_ms):
    assert reported(config=config).summary["target_latency_ms"] == latency_ms

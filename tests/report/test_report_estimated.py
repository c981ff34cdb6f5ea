"""A study for a device that nobody reached: estimates stay apart from measurements, and are called what they are."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import pytest

from autocompress.measurement import EstimatedSpeedup, Interval
from autocompress.report import build_summary
from autocompress.report.comparison import compare
from autocompress.report.html import report_html
from autocompress.report.markdown import report_markdown
from autocompress.report.png import pareto_png
from autocompress.report.points import study_points
from autocompress.report.table_csv import trials_csv
from autocompress.report.verdict import verdict
from autocompress.store.records import NOT_VERIFIED, CandidateRecord

BASELINE_MS = 7.82


def estimated(candidate: CandidateRecord) -> CandidateRecord:
    """The candidate as a study for another device has it."""
    assert candidate.estimate is not None
    factor = BASELINE_MS / candidate.estimate.latency_ms
    return replace(
        candidate,
        estimated_speedup=EstimatedSpeedup(factor, Interval(0.9 * factor, 1.1 * factor)),
        search_speedup=None,
        latency=None,
        verified_speedup=None,
    )


@pytest.fixture
def elsewhere(met):
    baseline = {
        **met.record.header.baseline,
        "latency_ms": None,
        "latency_estimate_ms": BASELINE_MS,
        "latency_estimate_interval90_ms": [0.95 * BASELINE_MS, 1.05 * BASELINE_MS],
    }
    header = replace(met.record.header, baseline=baseline)
    record = replace(met.record, header=header, candidates=tuple(map(estimated, met.record.candidates)))
    best = met.summary["best"]
    summary = build_summary(
        record, best=best["trial"], model=best["model"], recipe=best["recipe"], target_met_by_estimate=True
    )
    return type(met)(record, summary)


def test_the_verdict_says_that_nobody_timed_it(elsewhere):
    found = verdict(elsewhere.summary)
    assert found.tone == "estimated"
    assert re.fullmatch(rf"Target met by the estimate only: [\d.]+× faster, {NOT_VERIFIED}", found.headline)
    speed = next(s for s in found.sentences if "90 % interval" in s)
    assert speed.startswith("Estimated, not verified:")
    assert "nobody timed it there" in speed


def test_no_point_counts_as_measured_in_speed(elsewhere):
    points = study_points(elsewhere.record, elsewhere.summary)
    assert points.searched == points.verified == ()
    assert not points.front_is_measured
    assert points.unverified
    assert all(point.estimated for point in (*points.unverified, *points.priced, *points.predicted))
    for point in points.unverified:
        assert point.drop == point.candidate.verified_drop.drop
        assert point.speedup_interval == point.candidate.estimated_speedup.interval90


def test_the_rows_and_columns_keep_both_apart(elsewhere):
    rows = {row.label: row for row in compare(elsewhere.summary)}
    assert rows["latency, measured"].best == rows["latency, measured"].baseline == "–"
    assert rows[f"latency, {NOT_VERIFIED}"].interval.endswith("(90 %)")
    trials = list(csv.DictReader(io.StringIO(trials_csv(elsewhere.record.candidates))))
    assert {t["latency_status"] for t in trials} == {NOT_VERIFIED}
    assert not any(t[name] for t in trials for name in t if "_speedup" in name and "estimated" not in name)
    assert all(float(t["estimated_speedup"]) > 0 for t in trials)


def test_page_picture_and_markdown_are_drawn(elsewhere):
    page = report_html(elsewhere.record, elsewhere.summary)
    assert f"Speedup, {NOT_VERIFIED}" in page
    assert "Finalists: accuracy verified, speed estimated, not verified" in page
    assert "autocompress measure MODEL.onnx" not in page
    figure = json.loads(re.search(r'data-chart="pareto">(.*?)</script>', page, re.S)[1])
    names = [trace["name"] for trace in figure["data"]]
    assert any("latency estimated, not verified" in name for name in names)
    assert not any("timed in turns" in name for name in names)
    assert pareto_png(elsewhere.record, elsewhere.summary).startswith(b"\x89PNG")
    text = report_markdown(elsewhere.record, elsewhere.summary)
    assert "## Finalists: accuracy verified, speed estimated" in text
    assert f"speedup, {NOT_VERIFIED}" in text


def test_what_a_command_measured_is_measured_and_says_by_what(met):
    def by_command(candidate: CandidateRecord) -> CandidateRecord:
        timed = candidate.verified_speedup
        if timed is None:
            return candidate
        return replace(candidate, verified_speedup=replace(timed, b=replace(timed.b, clock="command")))

    record = replace(met.record, candidates=tuple(map(by_command, met.record.candidates)))
    best = met.summary["best"]
    summary = build_summary(record, best=best["trial"], model=best["model"], recipe=best["recipe"], target_met=True)
    assert summary["best"]["latency_status"] == "measured by command"
    found = verdict(summary)
    assert found.headline.endswith("faster, measured by command")
    assert any("timed by the verify command, in turns with the original" in s for s in found.sentences)
    assert "latency, measured by command" in {row.label for row in compare(summary)}

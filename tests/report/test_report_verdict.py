from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from autocompress.report import build_summary
from autocompress.report.terminal import show_summary
from autocompress.report.verdict import target_words, verdict


def printed(summary) -> str:
    console = Console(file=io.StringIO(), width=160)
    for renderable in show_summary(summary):
        console.print(renderable)
    return console.file.getvalue()


def test_met(met):
    found = verdict(met.summary)
    assert (found.tone, found.headline) == ("met", "Target met: 2.05× faster, measured")
    text = " ".join(found.sentences)
    assert "3.81 ms instead of 7.82 ms" in text
    assert "falls by 0.43 points, from 72.04 % to 71.61 %" in text
    assert "95 % interval of the drop −0.28 to +1.16 points" in text
    assert "700 samples of the verification part" in text
    assert "The interval reaches beyond the budget" in text


def test_missed_says_what_was_asked_and_why(missed):
    found = verdict(missed.summary)
    assert (found.tone, found.headline) == ("missed", "Target not reached: best 1.74× faster, measured")
    assert found.sentences[0] == "Asked for: 4.00× faster, at most 1.00 points of accuracy drop."
    assert found.sentences[1] == "Even all layers in int8 are estimated at 2.2x."


def test_without_a_target(met):
    record = replace(
        met.record, header=replace(met.record.header, study=replace(met.record.header.study, config={"seed": 1}))
    )
    summary = build_summary(record, best=met.summary["best"]["trial"], model="best.onnx", target_met=True)
    assert verdict(summary).headline == "2.05× faster, measured, the best trade-off found"
    assert "budget" not in " ".join(verdict(summary).sentences)


@pytest.mark.parametrize(
    ("status", "headline"),
    [
        ("running", "Not finished: no result is verified yet"),
        ("failed", "The run failed before a result was verified"),
        ("interrupted", "No result was emitted"),
    ],
)
def test_nothing_yet(reported, status, headline):
    found = reported(status=status, stop_reason="the disk is full")
    assert verdict(found.summary).headline == headline
    assert verdict(found.summary).sentences == ("The disk is full.",)
    assert "the disk is full" in printed(found.summary)


def test_unchanged(reported):
    found = reported(model="best.onnx", stop_reason="the model has no weights")
    assert verdict(found.summary).headline == "Target not reached: nothing better holds"
    assert "The emitted file is the original model." in verdict(found.summary).sentences


def test_a_gain_is_not_called_a_loss(met):
    best = {**met.summary["best"], "accuracy_drop": -0.002, "accuracy_drop_ci95": [-0.006, 0.002]}
    assert "rises by 0.20 points" in " ".join(verdict({**met.summary, "best": best}).sentences)
    lower = {**met.summary, "best": best, "higher_is_better": False}
    assert "falls by 0.20 points" in " ".join(verdict(lower).sentences)
    same = {**best, "accuracy_drop": 0.0}
    assert "does not change" in " ".join(verdict({**met.summary, "best": same}).sentences)


def test_a_size_target(met):
    summary = {**met.summary, "target_speedup": None, "target_size": "2.5x"}
    assert verdict(summary).headline == "Target met: 2.95× smaller, 2.05× faster, measured"
    assert target_words({**summary, "target_size": {"factor": 4.0}}).startswith("size 4.00× smaller")
    assert target_words({"target_latency_ms": 5.0}) == "at most 5.00 ms"
    assert target_words({}) == "none"


def test_estimated_is_not_called_measured(met):
    best = {**met.summary["best"], "speedup": None, "speedup_ci95": None, "latency_ms": None}
    found = verdict({**met.summary, "target_met": False, "best": best})
    assert "estimated, not verified" in found.headline
    assert "faster, measured" not in found.headline


def test_the_terminal_shows_the_end_table(met):
    text = printed({**met.summary, "metric": "mine[bold]:map"})
    for expected in (
        "72.04 %",
        "+0.43 points",
        "−0.28 to +1.16 points",
        "2.02 to 2.08×",
        "3.87 ms",
        "4.73 MB",
        "best.onnx",
    ):
        assert expected in text
    assert "mine[bold]:map (700 samples)" in text

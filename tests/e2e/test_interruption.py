"""Ctrl-C early and late, ``kill -9``, and taking a study up again."""

from __future__ import annotations

import signal

import pytest
from small_world import digest, interrupt_when

LONG = ("--trials", "50", "--target-speedup", "9x", "--study", "s", "--json")
EVALUATED = "evaluate first candidates: done"


def begin(home):
    return home.shell.start("run", *home.short(), *LONG)


def status(home) -> str:
    return home.shell.call_here("study", "show", "s", "--storage", "s.db", "--json").document["status"]


def trials(home) -> list[dict]:
    return home.shell.call_here("study", "trials", "s", "--storage", "s.db", "--json").document["trials"]


def test_before_any_result_nothing_is_written(home):
    before = digest(home.old_result)
    process = begin(home)
    interrupt_when(process, "is kept in")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "error: interrupted"
    assert digest(home.old_result) == before
    assert not list(home.folder.rglob(".work-*"))
    assert status(home) == "interrupted"


def test_after_the_first_candidates_the_best_is_verified_and_written(home):
    process = begin(home)
    interrupt_when(process, EVALUATED)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert '"status": "interrupted"' in out
    assert (home.old_result / "best.onnx").stat().st_size > 1000
    assert status(home) == "interrupted"


@pytest.mark.slow
def test_killed_runs_go_on_without_evaluating_anything_twice(home):
    before = digest(home.old_result / "best.onnx")
    process = begin(home)
    interrupt_when(process, EVALUATED, signal.SIGKILL)
    process.communicate(timeout=60)
    assert digest(home.old_result / "best.onnx") == before
    first = trials(home)
    assert len(first) >= 2
    assert status(home) == "running"
    assert list(home.old_result.glob(".work-*"))

    resumed = home.run(*LONG, "--trials", "4", "--resume")
    assert resumed.code == 3, resumed.err
    assert digest(home.old_result / "best.onnx") != before
    second = trials(home)
    measured = ("recipe", "speedup", "latency_ms", "accuracy_drop", "size_bytes")
    assert [[t[key] for key in measured] for t in second[: len(first)]] == [[t[key] for key in measured] for t in first]
    assert len({trial["recipe"] for trial in second}) == len(second)
    assert status(home) == "complete"
    assert not list(home.old_result.glob(".work-*"))

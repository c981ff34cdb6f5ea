from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from autocompress.cli.progress import LineProgress, LiveProgress, progress_on_stderr
from autocompress.progress import NullProgress, Progress


@pytest.fixture
def clock():
    class Clock:
        now_s = 100.0

        def __call__(self) -> float:
            return self.now_s

    return Clock()


def test_lines_say_what_begins_to_matter(clock):
    stream = io.StringIO()
    lines = LineProgress(stream, clock)
    lines.stage("calibrate")
    clock.now_s += 3
    lines.stage("search", total=50, limit_s=600)
    lines.advance()
    clock.now_s += 12
    lines.advance(4)
    lines.best("2.10x, drop 0.003")
    clock.now_s += 1
    lines.advance()
    lines.notice("no table fits this device")
    lines.close()
    assert stream.getvalue().splitlines() == [
        "calibrate: done in 0:03",
        "search: 5/50, 0:12 so far, about 1:48 left",
        "best so far: 2.10x, drop 0.003",
        "no table fits this device",
        "search: done, 6 in 0:13",
    ]


def test_a_stage_without_a_total_counts_all_the_same(clock):
    stream = io.StringIO()
    lines = LineProgress(stream, clock)
    lines.stage("profile")
    clock.now_s += 10
    lines.advance(7)
    assert stream.getvalue() == "profile: 7, 0:10 so far\n"


def test_live_shows_stages_counts_best_and_notices():
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with LiveProgress(console) as live:
        live.notice("studies are kept in [b]runs.db[/b]")
        live.stage("calibrate", total=3)
        live.advance(3)
        live.stage("search", total=50, limit_s=600)
        live.advance(12)
        live.best("2.10x [drop] 0.003")
        live._bars.refresh()
        shown = console.file.getvalue()
        live.stage("verify")
    assert "1/1" not in console.file.getvalue()
    assert "12/50" in shown
    assert "left" in shown
    assert "[b]runs.db[/b]" in shown
    assert "calibrate" in shown
    assert "2.10x [drop] 0.003" in shown


def test_best_may_come_before_any_stage():
    with LiveProgress(Console(file=io.StringIO())) as live:
        live.best("1x")
        live.advance()
        live.notice("x")


def test_the_choice_fits_standard_error(monkeypatch):
    with progress_on_stderr(quiet=True) as progress:
        assert isinstance(progress, NullProgress)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_on_stderr(quiet=False) as progress:
        assert isinstance(progress, LineProgress)
        progress.stage("search")
    assert "search: done" in sys.stderr.getvalue()


@pytest.mark.parametrize("kind", [NullProgress, lambda: LineProgress(io.StringIO())])
def test_every_progress_follows_the_protocol(kind):
    progress: Progress = kind()
    progress.stage("a", total=None, limit_s=None)
    progress.advance()
    progress.best("b")
    progress.notice("c")

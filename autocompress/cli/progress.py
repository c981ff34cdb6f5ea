"""What a person sees while work runs: live bars in a terminal, now and then a line elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

from autocompress.cli.time_left import clock, time_left_s
from autocompress.progress import NullProgress, Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import ProgressColumn, Task

_LINE_EVERY_S = 10.0


@contextlib.contextmanager
def progress_on_stderr(*, quiet: bool) -> Iterator[Progress]:
    """Gives the progress that fits standard error: live, lines, or nothing."""
    if quiet:
        yield NullProgress()
    elif sys.stderr.isatty():
        from rich.console import Console

        with LiveProgress(Console(stderr=True)) as live:
            yield live
    else:
        lines = LineProgress(sys.stderr)
        yield lines
        lines.close()


class LineProgress:
    """Writes a line when a stage begins or ends, when the best changes, and every ten seconds in between."""

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._now = now
        self._stage: str | None = None
        self._total: int | None = None
        self._limit_s: float | None = None
        self._done = 0
        self._detail = ""
        self._began = self._said = 0.0

    def stage(self, name: str, total: int | None = None, limit_s: float | None = None) -> None:
        """Ends the stage before with its time and begins another."""
        self.close()
        self._stage, self._total, self._limit_s = name, total, limit_s
        self._done = 0
        self._detail = ""
        self._began = self._said = self._now()

    def advance(self, n: int = 1) -> None:
        """Counts steps; says so when the last line is old."""
        self._done += n
        if self._stage is not None and self._now() - self._said >= _LINE_EVERY_S:
            self._said = self._now()
            self._write(f"{self._stage}: {self._counts()}{self._detailed()}{self._left()}")

    def detail(self, text: str) -> None:
        """Keeps a few words for the next line."""
        self._detail = text

    def best(self, text: str) -> None:
        """Says the best so far."""
        self._write(f"best so far: {text}")

    def notice(self, text: str) -> None:
        """Says one sentence."""
        self._write(text)

    def close(self) -> None:
        """Says how long the last stage took."""
        if self._stage is not None:
            self._write(f"{self._stage}: done{self._counted()}{self._detailed()} in {clock(self._now() - self._began)}")
        self._stage = None

    def _counts(self) -> str:
        return f"{self._done}" if self._total is None else f"{self._done}/{self._total}"

    def _detailed(self) -> str:
        return f", {self._detail}" if self._detail else ""

    def _counted(self) -> str:
        return f", {self._done}" if self._done else ""

    def _left(self) -> str:
        elapsed_s = self._now() - self._began
        left = time_left_s(done=self._done, total=self._total, elapsed_s=elapsed_s, limit_s=self._limit_s)
        return f", {clock(elapsed_s)} so far" + (f", about {clock(left)} left" if left is not None else "")

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class LiveProgress:
    """Draws one bar per stage, with the counts, the best so far and the time left."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            SpinnerColumn(finished_text="[green]\N{CHECK MARK}[/]"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _text_column(_counts_of),
            TextColumn("{task.fields[detail]}", markup=False),
            _text_column(_time_of),
            TextColumn("{task.fields[best]}", style="bold", markup=False),
            console=console,
        )
        self._task: Task | None = None

    def __enter__(self) -> LiveProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        self._bars.stop()

    def stage(self, name: str, total: int | None = None, limit_s: float | None = None) -> None:
        """Ticks the bar before and begins another."""
        best = self._task.fields["best"] if self._task is not None else ""
        self._finish()
        task_id = self._bars.add_task(name, total=total, best=best, detail="", limit_s=limit_s, counted=True)
        self._task = next(task for task in self._bars.tasks if task.id == task_id)

    def advance(self, n: int = 1) -> None:
        """Moves the bar."""
        if self._task is not None:
            self._bars.advance(self._task.id, n)

    def detail(self, text: str) -> None:
        """Shows a few words beside the counts."""
        if self._task is not None:
            self._bars.update(self._task.id, detail=text)

    def best(self, text: str) -> None:
        """Shows the best so far beside the bar."""
        if self._task is not None:
            self._bars.update(self._task.id, best=text)

    def notice(self, text: str) -> None:
        """Prints one sentence above the bars."""
        self._bars.console.print(text, markup=False, highlight=False)

    def _finish(self) -> None:
        """Marks the current stage as done, whatever its count; the best so far moves on to the next bar."""
        if self._task is not None:
            counted = self._task.completed > 0
            done = self._task.completed if counted else 1
            self._bars.update(self._task.id, total=done, completed=done, best="", counted=counted)
            self._bars.stop_task(self._task.id)


def _text_column(text_of: Callable[[Task], str]) -> ProgressColumn:
    from rich.progress import ProgressColumn
    from rich.text import Text

    class Column(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(text_of(task))

    return Column()


def _counts_of(task: Task) -> str:
    if not task.fields["counted"]:
        return ""
    if task.total is None:
        return f"{int(task.completed)}" if task.completed else ""
    return f"{int(task.completed)}/{int(task.total)}"


def _time_of(task: Task) -> str:
    elapsed_s = task.elapsed or 0.0
    if task.finished:
        return clock(elapsed_s)
    total = None if task.total is None else int(task.total)
    left = time_left_s(done=int(task.completed), total=total, elapsed_s=elapsed_s, limit_s=task.fields["limit_s"])
    return clock(elapsed_s) if left is None else f"{clock(elapsed_s)}, {clock(left)} left"

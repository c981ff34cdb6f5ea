"""Waiting for a long task, while what it tells through a file is shown."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

from autocompress.search.progress_file import Step, read_progress
from autocompress.search.state import SearchState

_POLL_S = 0.5


def wait_for(state: SearchState, future: Future[Any], path: Path | None, stage: str) -> Any:
    """The result of a task, whose progress is shown meanwhile.

    Args:
        state: of the search.
        future: of the task.
        path: file in which the task tells how far it is; None where it tells nothing.
        stage: name under which its steps are counted.
    """
    shown = None
    while True:
        try:
            return future.result(timeout=_POLL_S)
        except TimeoutError:
            if future.done():
                raise
        step = Step() if path is None else read_progress(path)
        if step == shown or step == Step():
            continue
        if step.total is not None and (shown is None or shown.total != step.total):
            state.progress.stage(stage, total=step.total)
            shown = Step()
        state.progress.advance(step.done - (0 if shown is None else shown.done))
        state.progress.detail(step.detail)
        shown = step

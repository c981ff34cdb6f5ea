"""Waiting for a long task, while what it tells through a file is shown."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

from autocompress.search.progress_file import Step, ask_to_stop, read_progress
from autocompress.search.state import SearchState

_POLL_S = 0.5


def wait_for(state: SearchState, future: Future[Any], path: Path | None, stage: str, *, trains: bool = False) -> Any:
    """The result of a task, whose progress is shown meanwhile.

    Args:
        state: of the search.
        future: of the task.
        path: file in which the task tells how far it is; None where it tells nothing.
        stage: name under which its steps are counted.
        trains: whether it is a training, which the first Ctrl-C ends with the best weights so far.
    """
    shown = None
    while True:
        try:
            return future.result(timeout=_POLL_S)
        except TimeoutError:
            if future.done():
                raise
        except KeyboardInterrupt:
            if not trains or path is None or state.interrupted:
                raise
            state.interrupted = True
            ask_to_stop(path)
            state.progress.notice("stopping: the training ends with its best weights so far")
        step = Step() if path is None else read_progress(path)
        if step == shown or step == Step():
            continue
        if step.total is not None and (shown is None or shown.total != step.total):
            state.progress.stage(stage, total=step.total)
            shown = Step()
        state.progress.advance(step.done - (0 if shown is None else shown.done))
        state.progress.detail(step.detail)
        shown = step

"""How far a task in a worker process is, told through a small file that whoever waits for the task reads.

A file beside it says the other way that a training should end.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from autocompress.files import replacing
from autocompress.progress import NullProgress


@dataclass(frozen=True)
class Step:
    """How far a task is.

    Attributes:
        done: steps done.
        total: steps in all, or None where nobody knows.
        detail: a few words.
    """

    done: int = 0
    total: int | None = None
    detail: str = ""


class ProgressFile(NullProgress):
    """Writes what a task reports; where the file cannot be written, nobody is told.

    Counting steps raises KeyboardInterrupt once somebody asked the task to stop, as Ctrl-C would in its own process.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._step = Step()

    def stage(self, name: str, total: int | None = None, limit_s: float | None = None) -> None:
        """Begins to count anew."""
        self._write(Step(0, total))

    def advance(self, n: int = 1) -> None:
        """Counts steps."""
        if _stop_path(self._path).exists():
            raise KeyboardInterrupt
        self._write(Step(self._step.done + n, self._step.total, self._step.detail))

    def detail(self, text: str) -> None:
        """Replaces the few words."""
        self._write(Step(self._step.done, self._step.total, text))

    def _write(self, step: Step) -> None:
        self._step = step
        try:
            with replacing(self._path, durable=False) as file:
                file.write(json.dumps(asdict(step)).encode())
        except OSError:
            return


def ask_to_stop(path: Path) -> None:
    """Asks the task that reports through ``path`` to stop at its next step."""
    with contextlib.suppress(OSError):
        _stop_path(path).touch()


def _stop_path(path: Path) -> Path:
    return path.with_suffix(".stop")


def read_progress(path: Path) -> Step:
    """What the file says; nothing done where there is no file yet."""
    try:
        return Step(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Step()

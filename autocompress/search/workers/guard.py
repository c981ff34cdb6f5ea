"""What ends a task that does not end by itself: the clock, the memory, nobody wanting the answer any more."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from autocompress.search.workers.memory import MB, resident_bytes
from autocompress.search.workers.stderr_file import StderrFile

_TICK_S = 0.02


@dataclass(frozen=True)
class Guard:
    """Limits of one task.

    Attributes:
        timeout_s: longest time from sending the call to the first byte of the answer; None for no limit.
        memory_limit_bytes: most resident memory of the worker; None for no limit.
        stop: asked now and then; True means that nobody wants the answer any more.
    """

    timeout_s: float | None
    memory_limit_bytes: int | None
    stop: Callable[[], bool]


class Stopped(Exception):  # never leaves this package
    """The guard struck; the message is the cause, a sentence without its full stop."""


class PipeClosed(Exception):  # never leaves this package
    """The worker is dead, or closed its end of a pipe."""


class Watch:
    """Waits for a worker's pipes while looking, every tick, at everything in its guard."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: StderrFile, name: str, guard: Guard) -> None:
        self._process = process
        self._stderr = stderr
        self._name = name
        self._guard = guard
        now_s = time.monotonic()
        self._deadline_s = None if guard.timeout_s is None else now_s + guard.timeout_s
        self._next_look_s = now_s + _TICK_S

    def wait(self, fd: int, event: int) -> None:
        """Returns when ``fd`` is ready for ``event`` (of :func:`select.poll`), or was closed at the other end.

        Raises:
            Stopped: when the guard strikes first.
            PipeClosed: when the process is dead although an orphan of its holds the pipe open.
        """
        poll = select.poll()
        poll.register(fd, event)
        while True:
            ready = bool(poll.poll(self._patience_ms()))
            if time.monotonic() >= self._next_look_s:
                self._look()
            if ready:
                return
            self._look_at_clock()  # after the pipe, so that an answer that has come is never late
            if self._process.poll() is not None:
                if poll.poll(0):  # it may have answered just before
                    return
                raise PipeClosed

    def _patience_ms(self) -> float:
        wake_s = self._next_look_s if self._deadline_s is None else min(self._next_look_s, self._deadline_s)
        return max(0.0, wake_s - time.monotonic()) * 1000

    def _look(self) -> None:
        self._next_look_s = time.monotonic() + _TICK_S
        if self._guard.stop():
            raise Stopped(f"{self._name} was stopped because its executor was shut down")
        self._look_at_memory()
        self._stderr.trim()

    def _look_at_memory(self) -> None:
        limit_bytes = self._guard.memory_limit_bytes
        if limit_bytes is None:
            return
        used_bytes = resident_bytes(self._process.pid)
        if used_bytes is not None and used_bytes > limit_bytes:
            raise Stopped(
                f"{self._name} used {used_bytes / MB:.0f} MB of memory, more than the limit of "
                f"{limit_bytes / MB:.0f} MB, and was stopped"
            )

    def _look_at_clock(self) -> None:
        if self._deadline_s is not None and time.monotonic() >= self._deadline_s:
            raise Stopped(f"{self._name} ran longer than {self._guard.timeout_s:g} s and was stopped")

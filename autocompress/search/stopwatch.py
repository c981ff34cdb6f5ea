"""Time: how long each stage took and how much is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("baseline", "calibrate", "profile", "search", "verify")


class Stopwatch:
    """Counts wall seconds per stage from the moment it is made.

    Attributes:
        seconds: stage -> seconds so far.
    """

    def __init__(self, timeout_s: float | None) -> None:
        """Starts.

        Args:
            timeout_s: the whole allowance, or None for no limit.
        """
        self._start = time.monotonic()
        self._timeout_s = timeout_s
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to a stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] += time.monotonic() - start

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def left_s(self) -> float:
        """Seconds left; infinite without a limit."""
        return float("inf") if self._timeout_s is None else max(self._timeout_s - self.elapsed_s, 0.0)

    def used(self, share: float) -> bool:
        """Whether more than a share of the allowance is gone."""
        return self._timeout_s is not None and self.elapsed_s > share * self._timeout_s

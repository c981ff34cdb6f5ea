"""Time and progress of a reconstruction: how long each layer may take, and what whoever watches is told."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from autocompress.passes.reconstruct.payload import LayerError
from autocompress.progress import NullProgress, Progress


class Watch:
    """Shares a time limit out between layers.

    Args:
        progress: is told about layers done.
        deadline_s: seconds from now to stay within; None for no limit.
        now: reads a clock in seconds.
    """

    def __init__(
        self,
        progress: Progress | None = None,
        deadline_s: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress: Progress = progress or NullProgress()
        self._now = now
        self._end = math.inf if deadline_s is None else now() + deadline_s
        self._stage_start = now()
        self._work = self._done = 0.0

    def begin(self, stage: str, layers: int, work: float) -> None:
        """Starts a stage.

        Args:
            stage: its name.
            layers: how many layers or blocks it has.
            work: sum of the work of all, in any unit.
        """
        self._work, self._done = work, 0.0
        self._stage_start = self._now()
        left_s = self._end - self._stage_start
        self._progress.stage(stage, layers, None if math.isinf(left_s) else max(left_s, 0.0))

    def share(self, work: float) -> float:
        """Seconds that the next layer may take: its part of the time left, by its part of the work left."""
        left = self._end - self._now()
        return max(left, 0.0) * min(work / max(self._work - self._done, 1e-30), 1.0)

    def layer_done(self, name: str, error: LayerError, work: float) -> None:
        """Tells that a layer or block is done, and how long the others are likely to take."""
        self._done += work
        self._progress.advance()
        now = self._now()
        left_s = (now - self._stage_start) * max(self._work - self._done, 0.0) / max(self._done, 1e-30)
        left_s = min(left_s, max(self._end - now, 0.0))
        kept = error.reconstructed / error.nearest if error.nearest > 0.0 else 1.0
        self._progress.detail(f"{name}: {kept:.0%} of the error before, about {left_s:.0f} s left")

    def notice(self, text: str) -> None:
        """Says one sentence that must not be lost."""
        self._progress.notice(text)

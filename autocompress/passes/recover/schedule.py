"""Learning rate over a training that ends after its steps or at its deadline, whichever comes first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Schedule:
    """Linear warm-up, then a cosine to zero (Loshchilov and Hutter, SGDR, arXiv 1608.03983), over the time there is.

    Args:
        steps: planned.
        deadline_s: seconds from now; None has no deadline.
        warmup: fraction of the training with a rising rate.
        clock: seconds, for tests.
    """

    def __init__(
        self, steps: int, deadline_s: float | None, warmup: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._steps = steps
        self._deadline_s = deadline_s
        self._warmup = warmup
        self._clock = clock
        self._start = clock()

    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def done(self, step: int) -> float:
        """The part of the training that lies behind, from 0 to 1."""
        by_time = self.elapsed_s() / self._deadline_s if self._deadline_s else 0.0
        return min(1.0, max(step / self._steps if self._steps else 1.0, by_time))

    def factor(self, step: int) -> float:
        """Factor of the learning rate."""
        done = self.done(step)
        if done < self._warmup:
            return max(done / self._warmup, 0.01)
        return 0.5 * (1.0 + math.cos(math.pi * (done - self._warmup) / max(1e-9, 1.0 - self._warmup)))

    def left_s(self, step: int) -> float:
        """Seconds that remain at the present pace."""
        pace = self.elapsed_s() / max(1, step)
        by_steps = pace * (self._steps - step)
        return min(by_steps, self._deadline_s - self.elapsed_s()) if self._deadline_s else by_steps

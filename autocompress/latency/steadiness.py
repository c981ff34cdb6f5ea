"""Watches whether the device is running undisturbed, by timing the same small work again and again.

CPU time does not count waiting, but other work on the same core's second thread or in the shared cache slows a kernel
down all the same, by up to two times and for seconds on end.  A time taken then says nothing about the operator.
"""

from __future__ import annotations

import time

import numpy as np

from autocompress.latency.reference_work import float_product
from autocompress.runtimes.protocol import Runtime, SessionOptions

_SIZE = 256
_FIRST_RUNS, _RUNS = 12, 3
_STEADY = 1.08
_PAUSE_S = 0.02


class Steadiness:
    """Compares the device with itself.

    Args:
        runtime: what executes the reference work.
        threads: intra-op threads.
    """

    def __init__(self, runtime: Runtime, threads: int = 1) -> None:
        self._session = runtime.load(float_product(_SIZE), SessionOptions(threads=threads))
        self._feeds = {"x": np.ones((_SIZE, _SIZE), np.float32)}
        self._fastest = min(self._session.time_runs(self._feeds) for _ in range(_FIRST_RUNS))

    def slowdown(self) -> float:
        """How many times slower than its best the device is right now; about 1.0 when undisturbed."""
        if self._session.clock == "replay":
            return 1.0
        seconds = min(self._session.time_runs(self._feeds) for _ in range(_RUNS))
        self._fastest = min(self._fastest, seconds)
        return seconds / self._fastest

    def is_steady(self) -> bool:
        """Whether the device is undisturbed right now."""
        return self.slowdown() <= _STEADY

    def wait(self, limit_s: float) -> bool:
        """Waits for an undisturbed moment; False if ``limit_s`` seconds brought none."""
        end = time.perf_counter() + limit_s
        while not self.is_steady():
            if time.perf_counter() >= end:
                return False
            time.sleep(_PAUSE_S)
        return True

    def usual_slowdown(self, samples: int = 40) -> float:
        """Median slowdown over about a second: what an unstable clock shows by."""
        if self._session.clock == "replay":
            return 1.0
        found = []
        for _ in range(samples):
            found.append(self.slowdown())
            time.sleep(_PAUSE_S)
        return float(np.median(found))

"""Watches whether the device is running undisturbed, by timing the same small work again and again.

CPU time does not count waiting, but other work on the same core's second thread or in the shared cache slows a kernel
down all the same, by up to two times and for seconds on end.  A time taken then says nothing about the operator.

Several threads need as many processors.  Whether they got them shows in the CPU time of the whole process over wall
time, also where other work was there from the beginning and nothing faster was ever seen.  Their fastest run is a
matter of luck, and waiting to see it again takes minutes per operator; they are compared with what a quick run usually
takes.
"""

from __future__ import annotations

import time

import numpy as np

from autocompress.latency.device import usable_cores
from autocompress.latency.reference_work import float_product
from autocompress.runtimes.protocol import Runtime, SessionOptions

_SIZE = 256
# After a pause the first runs of several threads are slow, until the workers are awake.
_RUNS, _RUNS_OF_MANY_THREADS = (12, 3), (40, 12)
_QUICK = 0.25  # the quantile of all moments that several threads are compared with
_STEADY = 1.08
_DISTURBED = 1.3
_UNSTABLE = 1.5
_PAUSE_S = 0.02
_HOPELESS_WAITS = 24  # in a row; about a quarter of a minute
_WORKING_SHARE = 0.4  # of the time that the threads besides the calling one work at least, if nobody disturbs them


class Steadiness:
    """Compares the device with itself.

    Args:
        runtime: what executes the reference work.
        threads: intra-op threads.

    Raises:
        RuntimeFailure: when the runtime cannot run the reference work.
    """

    def __init__(self, runtime: Runtime, threads: int = 1) -> None:
        self._processors = min(threads, usable_cores())
        first_runs, self._runs = _RUNS if threads == 1 else _RUNS_OF_MANY_THREADS
        self._session = runtime.load(float_product(_SIZE), SessionOptions(threads=threads))
        self._feeds = {"x": np.ones((_SIZE, _SIZE), np.float32)}
        self._quick = 0.0 if threads == 1 else _QUICK
        self._seen_s = [self._quickest() for _ in range(first_runs // self._runs)]
        self._waits_in_vain = 0

    def slowdown(self) -> float:
        """How many times slower than its best the device is right now; about 1.0 when undisturbed."""
        if self._session.clock == "replay":
            return 1.0
        wall, cpu = time.perf_counter(), time.process_time()
        seconds = self._quickest()
        used = (time.process_time() - cpu) / (time.perf_counter() - wall)
        self._seen_s.append(seconds)
        reference_s = float(np.quantile(self._seen_s, self._quick))
        lacking = self._processors > 1 and used < 1 + _WORKING_SHARE * (self._processors - 1)
        return max(seconds / reference_s, self._processors / used if lacking else 1.0)

    def _quickest(self) -> float:
        return min(self._session.time_runs(self._feeds) for _ in range(self._runs))

    def is_steady(self) -> bool:
        """Whether the device is undisturbed right now."""
        return self.slowdown() <= _STEADY

    def wait(self, limit_s: float) -> float:
        """Waits for an undisturbed moment, at most ``limit_s`` seconds; returns the slowdown of the last moment."""
        end = time.perf_counter() + limit_s
        while (slowdown := self.slowdown()) > _STEADY and time.perf_counter() < end:
            time.sleep(_PAUSE_S)
        self._waits_in_vain = self._waits_in_vain + 1 if is_disturbed(slowdown) else 0
        return slowdown

    def usual_slowdown(self, samples: int = 40) -> float:
        """Median slowdown over about a second: what an unstable clock shows by."""
        if self._session.clock == "replay":
            return 1.0
        found = []
        for _ in range(samples):
            found.append(self.slowdown())
            time.sleep(_PAUSE_S)
        return float(np.median(found))

    def refusal(self) -> str | None:
        """Why nothing should be measured on this device now; None where it may be."""
        slowdown = self.usual_slowdown()
        if slowdown <= _UNSTABLE:
            return None
        return (
            f"the device is too disturbed to be profiled: equal work usually takes {slowdown:.1f} times as long as "
            f"undisturbed; stop other programs and profile again"
        )

    def lasting_refusal(self) -> str | None:
        """Why measuring should end: it has waited for an undisturbed moment again and again, in vain."""
        if self._waits_in_vain < _HOPELESS_WAITS:
            return None
        return (
            "the device has been disturbed for too long to go on; what was measured before is kept: "
            "stop other programs and profile again"
        )


def is_steady(slowdown: float) -> bool:
    """Whether a moment with this slowdown is undisturbed."""
    return slowdown <= _STEADY


def is_disturbed(slowdown: float) -> bool:
    """Whether times taken around a moment with this slowdown must not be used."""
    return slowdown > _DISTURBED


def disturbed_reason(slowdown: float) -> str:
    """Why times taken then are invalid."""
    return f"other work slowed the device down {slowdown:.1f} times while it was timed"

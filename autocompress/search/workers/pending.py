"""The calls that wait for a worker, first come, first served; and how the waiting ends."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from autocompress.errors import AutocompressError, CandidateFailed
from autocompress.search.workers.failure import fresh


@dataclass(eq=False)
class PendingCall:
    """One submitted call.

    Attributes:
        name: what it is called in messages.
        packed: the call as bytes.
        timeout_s: its time limit; None for none.
        owner: the executor, kept from being collected while somebody waits for one of its futures.
        future: gets the outcome.
        attempts: how often a worker has been given it.
    """

    name: str
    packed: bytes
    timeout_s: float | None
    owner: object
    future: Future[Any] = field(default_factory=Future)
    attempts: int = 0
    _claimed: bool = False

    def claim(self) -> bool:
        """Marks the future as running; False when it was cancelled while it waited."""
        self._claimed = self._claimed or self.future.set_running_or_notify_cancel()
        return self._claimed

    def fail(self, cause: AutocompressError) -> None:
        """Fails the future, unless it was cancelled or has its outcome."""
        if not self.future.done() and self.claim():
            self.future.set_exception(fresh(cause))

    def drop(self) -> None:
        """Cancels the future; fails it where a worker had been given it before."""
        if self.future.cancel():
            self.future.set_running_or_notify_cancel()  # so that as_completed and wait notice
        else:
            self.fail(CandidateFailed(f"{self.name} was stopped because its executor was shut down"))


class PendingWork:
    """A queue that workers' threads take from until it is closed and empty.

    Args:
        slots: number of threads that take from it.
    """

    def __init__(self, slots: int) -> None:
        self._calls: deque[PendingCall] = deque()
        self._changed = threading.Condition()
        self._slots = slots
        self._closed = False
        self._killed = False
        self._broken: AutocompressError | None = None

    def add(self, call: PendingCall) -> None:
        """Queues a call.

        Raises:
            RuntimeError: after :meth:`close`, as concurrent.futures has it.
            AutocompressError: the cause, when no worker could be started.
        """
        with self._changed:
            if self._broken is not None:
                raise fresh(self._broken)
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._calls.append(call)
            self._changed.notify()

    def put_back(self, call: PendingCall) -> None:
        """Returns a call that was taken and not begun to the head of the queue; fails it when all have given up."""
        with self._changed:
            broken = self._broken
            if broken is None:
                self._calls.appendleft(call)
                self._changed.notify()
        if broken is not None:
            call.fail(broken)

    def take(self) -> PendingCall | None:
        """Waits for a call; None when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._calls or self._closed)
            return self._calls.popleft() if self._calls else None

    def finished(self) -> bool:
        """Whether nothing waits and nothing more can come."""
        with self._changed:
            return self._closed and not self._calls

    def killed(self) -> bool:
        """Whether running tasks are to be stopped as well."""
        return self._killed

    def close(self, *, cancel: bool, kill: bool) -> None:
        """Lets no more in; may be called again to ask for more.

        Args:
            cancel: whether what waits is cancelled, else it is still done.
            kill: whether running tasks are stopped as well.
        """
        with self._changed:
            self._closed = True
            self._killed = self._killed or kill
            dropped = self._drain() if cancel or kill else []
            self._changed.notify_all()
        for call in dropped:
            call.drop()

    def leave(self, cause: AutocompressError | None) -> None:
        """Says that one thread takes no more; what waits when the last one leaves fails with its ``cause``.

        Args:
            cause: why no worker can be started; None when the work was done.
        """
        with self._changed:
            self._slots -= 1
            last = self._slots == 0
        if last and cause is not None:
            self.fail(cause)

    def fail(self, cause: AutocompressError) -> None:
        """Fails all that waits, and whatever is added from now on, with ``cause``."""
        with self._changed:
            self._broken = self._broken or cause
            self._closed = True
            dropped = self._drain()
            self._changed.notify_all()
        for call in dropped:
            call.fail(cause)

    def _drain(self) -> list[PendingCall]:
        calls = list(self._calls)
        self._calls.clear()
        return calls

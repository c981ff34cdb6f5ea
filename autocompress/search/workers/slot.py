"""One place for a worker: a thread that starts the process, feeds it, watches it and replaces it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from autocompress.errors import AutocompressError, CandidateFailed, RuntimeFailure
from autocompress.search.workers.failure import deliberate, noted
from autocompress.search.workers.guard import Guard
from autocompress.search.workers.launch import Launch
from autocompress.search.workers.pending import PendingCall, PendingWork
from autocompress.search.workers.process import WorkerLost, WorkerProcess
from autocompress.search.workers.transport import loads

_MAX_ATTEMPTS = 2


@dataclass(frozen=True)
class WorkerPlan:
    """How the workers of one executor start and what they may use.

    Attributes:
        launch: interpreter, import path, environment.
        initializer: packed call that every new worker makes first.
        initializer_name: its name in messages.
        start_timeout_s: longest start, initializer included; None for no limit.
        start_attempts: how often in a row a worker may fail to start.
        memory_limit_bytes: most resident memory of one worker; None for no limit.
    """

    launch: Launch
    initializer: bytes
    initializer_name: str
    start_timeout_s: float | None
    start_attempts: int
    memory_limit_bytes: int | None


class WorkerSlot(threading.Thread):
    """Takes calls from ``pending`` until there are no more, or no worker can be started here.

    The thread is the only one that touches its process, so what it reports as the cause is the cause.
    """

    def __init__(self, number: int, plan: WorkerPlan, pending: PendingWork) -> None:
        # A daemon, so that a forgotten shutdown does not keep the interpreter from ending.
        super().__init__(name=f"worker-slot-{number}", daemon=True)
        self._plan = plan
        self._pending = pending
        self._worker: WorkerProcess | None = None
        self._resident_at_start: int | None = None

    def run(self) -> None:
        """Serves until the queue ends."""
        cause: AutocompressError | None = None
        try:
            cause = self._serve_all()
        except BaseException as error:
            cause = RuntimeFailure(str(deliberate(error, "the thread of a worker process", skip_frames=0)))
            raise  # our own fault, and yet every future comes to an end
        finally:
            self._retire()
            self._pending.leave(cause)

    def _serve_all(self) -> AutocompressError | None:
        """Serves until the queue ends, or returns why no worker can be started here."""
        while True:
            cause = self._have_worker()
            if self._worker is None:
                return cause
            call = self._pending.take()
            if call is None:
                return None
            try:
                self._serve(call, self._worker)
            except BaseException as error:
                call.fail(deliberate(error, f"serving {call.name}", skip_frames=0))
                raise
            del call  # it holds the executor and perhaps megabytes

    def _have_worker(self) -> AutocompressError | None:
        """Starts a worker where there is none; the cause when that fails too often."""
        cause: AutocompressError | None = None
        for _ in range(self._plan.start_attempts):
            if self._worker is not None or self._pending.finished():
                return None
            cause = self._start()
        return None if self._pending.finished() else cause

    def _start(self) -> AutocompressError | None:
        """Starts a worker and lets it make the first call; the cause where that fails."""
        guard = Guard(self._plan.start_timeout_s, self._plan.memory_limit_bytes, stop=self._pending.finished)
        try:
            self._worker = WorkerProcess(self._plan.launch)
            answer = self._worker.exchange(self._plan.initializer, self._plan.initializer_name, guard)
            self._resident_at_start = self._worker.resident_bytes
            succeeded, raised = loads(answer)
        except WorkerLost as lost:
            self._worker = None
            return noted(_not_started(lost.cause), lost.stderr_tail)
        except Exception as error:  # too many processes or files, or an error class that only the worker could import
            self._retire()
            return _not_started(str(deliberate(error, "starting a process")))
        if succeeded:
            return None
        self._retire()
        if isinstance(raised, CandidateFailed):
            return _with_notes_of(_not_started(str(raised)), raised)
        # Said on purpose, so that trying again would change nothing.
        self._pending.fail(raised)
        return None

    def _serve(self, call: PendingCall, worker: WorkerProcess) -> None:
        if not worker.alive() or self._bloated(worker):
            # It was killed, or kept too much, between two tasks: no fault of this one.
            self._retire()
            self._pending.put_back(call)
            return
        if not call.claim():
            return
        call.attempts += 1
        guard = Guard(call.timeout_s, self._plan.memory_limit_bytes, stop=self._pending.killed)
        try:
            answer = worker.exchange(call.packed, call.name, guard)
        except WorkerLost as lost:
            self._worker = None
            if not lost.delivered and call.attempts < _MAX_ATTEMPTS:
                self._pending.put_back(call)
            else:
                call.fail(noted(CandidateFailed(lost.cause), lost.stderr_tail))
            return
        _settle(call, answer)

    def _bloated(self, worker: WorkerProcess) -> bool:
        """Whether earlier tasks left so much behind that the next one would be stopped for their sake."""
        limit_bytes, at_start, now = self._plan.memory_limit_bytes, self._resident_at_start, worker.resident_bytes
        if limit_bytes is None or at_start is None or now is None:
            return False
        return now - at_start > (limit_bytes - at_start) / 2

    def _retire(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def _settle(call: PendingCall, answer: bytearray) -> None:
    try:
        succeeded, value = loads(answer)
    except Exception as error:
        succeeded, value = False, deliberate(error, f"reading the result of {call.name}", skip_frames=0)
    if succeeded:
        call.future.set_result(value)
    else:
        call.future.set_exception(value)


def _not_started(cause: str) -> RuntimeFailure:
    return RuntimeFailure(f"the worker processes could not be started: {cause}")


def _with_notes_of(error: AutocompressError, source: BaseException) -> AutocompressError:
    for note in getattr(source, "__notes__", []):
        error.add_note(note)
    return error

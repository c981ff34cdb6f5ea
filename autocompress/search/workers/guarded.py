"""Runs tasks in guarded child processes: what crashes, hangs or swells is one failed task, and the rest goes on."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from autocompress.errors import ConfigError
from autocompress.search.workers.child import start
from autocompress.search.workers.failure import call_name, deliberate
from autocompress.search.workers.launch import Launch
from autocompress.search.workers.pending import PendingCall, PendingWork
from autocompress.search.workers.slot import WorkerPlan, WorkerSlot
from autocompress.search.workers.transport import pack_call

_P = ParamSpec("_P")
_T = TypeVar("_T")

_FORGOTTEN_JOIN_S = 2.0


class GuardedProcessExecutor(Executor):
    """A :class:`concurrent.futures.Executor` whose workers are expected to fail.

    Workers are separate interpreters, started at once and kept: each makes the initializer's call, then one task at a
    time.  They do not import the main module, so neither scripts nor notebooks need precautions; what is defined there
    travels by value.  What a task prints goes nowhere, except that its last lines explain a crash.

    A task's future holds its value, or

    - the very AutocompressError that the task raised,
    - CandidateFailed, naming any other exception,
    - CandidateFailed with the cause, when its process crashed, ended, ran too long or grew too large (the process is
      replaced, and with it go all processes that it started).

    Where no worker can be started, all futures, and later calls of :meth:`submit`, get the cause: what the initializer
    raised if that is an AutocompressError, else RuntimeFailure.

    Workers ignore Ctrl-C, and die with this process however it dies.  Leaving a ``with`` block by an exception stops
    running tasks; leaving it normally waits for them.

    Args:
        workers: number of processes, at least 1.
        initializer: called once in each new worker, with ``initargs``; its result is ignored.
        initargs: arguments of the initializer.
        task_timeout_s: time limit of a task, from being given to a worker; None for no limit.
        memory_limit_bytes: most resident memory of one worker, looked at 50 times a second (where the system does not
            tell, the limit holds for address space instead); None for no limit.
        threads_per_worker: set for OpenMP, BLAS and the like in each worker.
        start_timeout_s: time limit of a worker's start, initializer included; None for no limit.
        start_attempts: how often in a row a worker may fail to start before its place stays empty.

    Raises:
        ConfigError: when an argument is out of range, or the initializer cannot be sent to another process.
    """

    def __init__(
        self,
        workers: int,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        task_timeout_s: float | None = None,
        memory_limit_bytes: int | None = None,
        threads_per_worker: int = 1,
        start_timeout_s: float | None = 300.0,
        start_attempts: int = 3,
    ) -> None:
        _at_least_one("workers", workers)
        _at_least_one("threads_per_worker", threads_per_worker)
        _at_least_one("start_attempts", start_attempts)
        _positive("memory_limit_bytes", memory_limit_bytes)
        _positive("start_timeout_s", start_timeout_s)
        self._task_timeout_s = _positive("task_timeout_s", task_timeout_s)
        name = "start" if initializer is None else call_name(initializer)
        plan = WorkerPlan(
            launch=Launch.like_this_process(threads_per_worker),
            initializer=_packed_initializer(name, initializer, initargs, memory_limit_bytes),
            initializer_name=name,
            start_timeout_s=start_timeout_s,
            start_attempts=start_attempts,
            memory_limit_bytes=memory_limit_bytes,
        )
        self._pending = PendingWork(workers)
        self._slots = [WorkerSlot(number, plan, self._pending) for number in range(workers)]
        # Also at the interpreter's end, before it freezes the threads.
        weakref.finalize(self, _abandon, self._pending, self._slots)
        for slot in self._slots:
            slot.start()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Queues ``fn(*args, **kwargs)``; the arguments are copied now, so changing them later changes nothing.

        Raises:
            RuntimeError: after :meth:`shutdown`.
            AutocompressError: the cause, when no worker could be started.
        """
        return self._submit(self._task_timeout_s, fn, args, kwargs)

    def submit_with_timeout(
        self, timeout_s: float | None, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Future[_T]:
        """Like :meth:`submit`, with a time limit of its own; None for no limit.

        Raises:
            ConfigError: when ``timeout_s`` is not positive.
        """
        return self._submit(_positive("timeout_s", timeout_s), fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, kill: bool = False) -> None:
        """Takes no more tasks and ends the workers when theirs are done; may be called again to ask for more.

        Args:
            wait: whether to return only when all processes are gone.
            cancel_futures: whether tasks that have not begun are cancelled.
            kill: whether running tasks are stopped too (their futures get CandidateFailed); implies ``cancel_futures``.
        """
        self._pending.close(cancel=cancel_futures, kill=kill)
        if wait:
            _join(self._slots)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown(wait=True, kill=kind is not None)

    def _submit(
        self, timeout_s: float | None, fn: Callable[..., _T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[_T]:
        name = call_name(fn)
        try:
            packed = pack_call(name, fn, args, kwargs)
        except Exception as error:
            unsent: Future[_T] = Future()
            unsent.set_running_or_notify_cancel()
            unsent.set_exception(deliberate(error, f"sending {name} to a worker process"))
            return unsent
        call = PendingCall(name, packed, timeout_s, owner=self)
        self._pending.add(call)
        return call.future


def _packed_initializer(
    name: str, initializer: Callable[..., object] | None, initargs: tuple[Any, ...], memory_limit_bytes: int | None
) -> bytes:
    try:
        return pack_call(name, start, (initializer, initargs, memory_limit_bytes), {})
    except Exception as error:
        raise ConfigError(
            f"{name} and its arguments cannot be sent to a worker process ({type(error).__name__}: {error}); "
            f"give it paths and plain data, or run with 0 workers"
        ) from error


def _at_least_one(option: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{option} is {value}, but must be at least 1")


def _positive(option: str, value: float | None) -> float | None:
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{option} is {value}, but must be a positive number, or None for no limit")
    return value


def _abandon(pending: PendingWork, slots: list[WorkerSlot]) -> None:
    pending.close(cancel=True, kill=True)
    _join(slots, _FORGOTTEN_JOIN_S)


def _join(slots: list[WorkerSlot], timeout_s: float | None = None) -> None:
    for slot in slots:
        # A callback of a future may shut its own executor down.
        if slot.ident is not None and slot is not threading.current_thread():
            slot.join(timeout_s)

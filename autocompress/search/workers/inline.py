"""Runs tasks in this process, at once: for debugging, and for 0 workers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from autocompress.errors import AutocompressError, CandidateFailed, RuntimeFailure
from autocompress.search.workers.failure import call_name, deliberate, fresh

_P = ParamSpec("_P")
_T = TypeVar("_T")


class InlineExecutor(Executor):
    """The executor without processes: :meth:`submit` returns when the task is done.

    Errors come as from :class:`~autocompress.search.workers.guarded.GuardedProcessExecutor`, but nothing guards: a
    crash ends this process and a hang hangs it.  Arguments and results are passed as they are, not copied.  Ctrl-C
    interrupts the task and goes to the caller.

    Args:
        initializer: called with ``initargs`` before the first task.
        initargs: arguments of the initializer.
    """

    def __init__(self, *, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()) -> None:
        self._initializer = initializer
        self._initargs = initargs
        self._closed = False
        self._broken: AutocompressError | None = None

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Runs ``fn(*args, **kwargs)``.

        Raises:
            RuntimeError: after :meth:`shutdown`.
            AutocompressError: the cause, when the initializer has failed before.
        """
        if self._broken is not None:
            raise fresh(self._broken)
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[_T] = Future()
        future.set_running_or_notify_cancel()
        self._initialize()
        if self._broken is not None:
            future.set_exception(fresh(self._broken))
            return future
        try:
            result = fn(*args, **kwargs)
        except (Exception, SystemExit) as error:
            future.set_exception(deliberate(error, call_name(fn)))
        else:
            future.set_result(result)
        return future

    def submit_with_timeout(
        self, timeout_s: float | None, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Future[_T]:
        """Runs ``fn(*args, **kwargs)``; the limit is not kept, there being nobody to keep it."""
        return self.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, kill: bool = False) -> None:
        """Takes no more tasks; nothing else is left to do."""
        self._closed = True

    def _initialize(self) -> None:
        if self._initializer is None:
            return
        initializer, self._initializer = self._initializer, None
        try:
            initializer(*self._initargs)
        except (Exception, SystemExit) as error:
            known = deliberate(error, call_name(initializer))
            if isinstance(known, CandidateFailed):
                known = RuntimeFailure(f"the tasks could not be started: {known}")
            self._broken = known

"""What runs in a worker process: reads a call, makes it, answers; until the parent closes the pipe.

Imports nothing heavy: what a task needs, its own imports bring.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from autocompress.errors import AutocompressError, CandidateFailed
from autocompress.search.workers import leash
from autocompress.search.workers.failure import call_name, deliberate
from autocompress.search.workers.frames import read_frame, write_frame
from autocompress.search.workers.memory import limit_address_space
from autocompress.search.workers.transport import called_name, dumps, loads, unpack_call


def main(leash_fd: int) -> None:
    """Serves calls that arrive on standard input and answers on the original standard output.

    Args:
        leash_fd: read end of the pipe that closes when the parent dies.
    """
    leash.hold(leash_fd)
    requests_fd, answers_fd = _claim_standard_streams()
    # Ctrl-C is the parent's to handle: it decides what happens to running tasks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    while (request := read_frame(requests_fd)) is not None:
        calls = [request]
        del request  # so that a large payload is not kept while the task runs
        write_frame(answers_fd, _answer(calls))


def start(initializer: Callable[..., object] | None, initargs: tuple[Any, ...], memory_limit_bytes: int | None) -> None:
    """The first call every worker gets: limits where the parent cannot watch, then the initializer."""
    if memory_limit_bytes is not None:
        limit_address_space(memory_limit_bytes)
    if initializer is not None:
        initializer(*initargs)


def _claim_standard_streams() -> tuple[int, int]:
    """Moves the pipes to private descriptors, so that what a task prints goes to standard error instead."""
    requests_fd, answers_fd = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a crash must not swallow what was said
    return requests_fd, answers_fd


def _answer(calls: list[bytearray]) -> bytes:
    """Makes the one call in ``calls`` (taken out of it) and pickles (succeeded, value or error)."""
    packed = calls.pop()
    what = called_name(packed)
    try:
        fn, args, kwargs = unpack_call(packed)
        del packed
        result = fn(*args, **kwargs)
    except BaseException as error:
        return _pickled_error(deliberate(error, what))
    try:
        return dumps((True, result))
    except BaseException as error:
        return _pickled_error(deliberate(error, f"sending back the result of {what}"))


def _pickled_error(error: AutocompressError) -> bytes:
    try:
        payload = dumps((False, error))
        loads(payload)  # an error class with arguments of its own may pickle and yet not come back
    except Exception:
        plain = CandidateFailed(f"{call_name(type(error))}: {error}")
        plain.__notes__ = [str(note) for note in getattr(error, "__notes__", [])]
        return dumps((False, plain))
    return payload

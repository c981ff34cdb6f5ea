"""Ends a worker, and all it started, when its parent dies in any way, ``kill -9`` included.

The parent holds the other end of a pipe on which nothing is ever written.  When the parent ends, the kernel closes
that end, and the worker's whole process group goes.  Where the kernel can deliver the kill itself (Linux), not even a
task that never gives up the interpreter lock outlives its parent; elsewhere a thread waits for the pipe to close.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import threading


def hold(fd: int) -> None:
    """Ties this process group to the life of whoever holds the write end of ``fd``; returns at once."""
    os.set_inheritable(fd, False)
    if not _kill_by_kernel(fd):
        threading.Thread(target=_kill_on_close, args=(fd,), name="leash", daemon=True).start()
    # The parent may have died before the lines above.
    if _closed(fd):
        _kill_group()


def _kill_by_kernel(fd: int) -> bool:
    if not hasattr(fcntl, "F_SETSIG"):
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp() if _leads_group() else os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:
        return False
    return True


def _kill_on_close(fd: int) -> None:
    os.read(fd, 1)
    _kill_group()


def _closed(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _leads_group() -> bool:
    return os.getpgrp() == os.getpid()


def _kill_group() -> None:
    # Never the group of somebody else: without one of our own, only this process ends.
    if _leads_group():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

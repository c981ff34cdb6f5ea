"""Where candidates are built and evaluated: guarded child processes, or this process for debugging.

Both executors speak ``concurrent.futures``, so a cluster's executor can take their place.

One task's way::

    guarded    submit() pickles the call and queues it                     (pending.PendingWork)
    slot       a thread per worker takes it, watches the worker, answers   (slot.WorkerSlot)
    process    one child: frames there and back, deadline, memory, death   (process.WorkerProcess)
    child      what runs over there                                        (child.main)
    failure    crash, hang, exception -> one deliberate error              (failure)

Names are imported when first used, because every child imports this package on its way to ``child``.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autocompress.search.workers.guarded import GuardedProcessExecutor
    from autocompress.search.workers.inline import InlineExecutor

__all__ = ["GuardedProcessExecutor", "InlineExecutor"]

_MODULES = {"GuardedProcessExecutor": "guarded", "InlineExecutor": "inline"}


def __getattr__(name: str) -> object:
    if name == "GuardedProcessExecutor" and os.name != "posix":
        from autocompress.errors import ConfigError

        raise ConfigError("worker processes need Linux or macOS; run with 0 workers on this system")
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

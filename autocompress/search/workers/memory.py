"""How much memory a process holds, and a limit for where that cannot be watched."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MB = 1024 * 1024


def resident_bytes(pid: int) -> int | None:
    """Resident memory of process ``pid`` (without its children), or None where /proc does not tell."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_bytes().split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def limit_address_space(limit_bytes: int) -> None:
    """Limits this process where its parent cannot read its resident memory; does nothing elsewhere.

    Address space counts every mapping, touched or not, so it is the second choice: runtimes map far more than they use.
    """
    if resident_bytes(os.getpid()) is not None:
        return
    import resource

    # Some systems know the call and refuse it (macOS): then the deadline is the only guard.
    with contextlib.suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, hard))

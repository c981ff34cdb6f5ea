"""Where unpacked samples lie: a size-bounded cache for files, a folder of its own for data given from Python.

    <cache>/samples/<identity of the user's file>/<member>.npy    kept, shared by processes and later runs
    <cache>/sessions/<host>-<pid>-<random>/<array>.npy            removed by the process that made it, at its exit

Both are made of plain .npy files that appear complete under their names.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from autocompress.errors import DataError

CACHE_VARIABLE = "AUTOCOMPRESS_CACHE"
CACHE_LIMIT_BYTES = 8 << 30
"""Unpacked files beyond this are dropped, least recently used first."""

_SPARE_BYTES = 64 << 20
_IN_USE_S = 3600.0
"""An entry used less than an hour ago may belong to a run in progress: it is never dropped."""


def cache_folder() -> Path:
    """The first writable one of $AUTOCOMPRESS_CACHE, $XDG_CACHE_HOME/autocompress, ~/.cache/autocompress, temp.

    Raises:
        DataError: when none is writable, or when $AUTOCOMPRESS_CACHE is set and is not.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    candidates = [Path(chosen)] if chosen else list(_default_folders())
    for folder in candidates:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    raise DataError(f"No folder for unpacked samples is writable ({candidates[0]}); set {CACHE_VARIABLE} to one.")


def _default_folders() -> Iterator[Path]:
    if os.environ.get("XDG_CACHE_HOME"):
        yield Path(os.environ["XDG_CACHE_HOME"]) / "autocompress"
    with contextlib.suppress(RuntimeError):  # no home directory
        yield Path.home() / ".cache" / "autocompress"
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    yield Path(tempfile.gettempdir()) / f"autocompress-{user}"


def file_folder(path: Path) -> Path:
    """The cache folder of one user file, as it is now: another size or time of change gives another folder."""
    status = path.stat()
    identity = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}"
    folder = cache_folder() / "samples" / hashlib.sha256(identity.encode()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)  # the time of last use, for dropping the least recently used
    return folder


def session_folder() -> Path:
    """A new folder that goes away when this very process (not a child) exits; sweeps those of dead processes.

    Raises:
        DataError: when the cache folder cannot hold it.
    """
    parent = cache_folder() / "sessions"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _sweep_dead_sessions(parent)
        folder = Path(tempfile.mkdtemp(prefix=f"{socket.gethostname()}-{os.getpid()}-", dir=parent))
    except OSError as error:
        raise DataError(f"The samples could not be kept in {parent}: {error.strerror or error}.") from error
    atexit.register(_remove_if_owner, folder, os.getpid())
    return folder


def _remove_if_owner(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child inherits the registration, not the folder
        shutil.rmtree(folder, ignore_errors=True)


def _sweep_dead_sessions(parent: Path) -> None:
    for folder in parent.glob(f"{socket.gethostname()}-*-*"):
        pid = folder.name.split("-")[-2]
        if pid.isdigit() and not process_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def process_alive(pid: int) -> bool:
    """Whether a process of this host is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def ensure_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Checks that ``folder`` can take ``needed_bytes`` more, after dropping old entries of the cache.

    Raises:
        DataError: when the disk has not enough room.
    """
    drop_old_entries(keep=folder, needed_bytes=needed_bytes)
    free = shutil.disk_usage(folder).free
    if free >= needed_bytes + _SPARE_BYTES:
        return
    advice = "free some"
    if folder.is_relative_to(cache_folder()):
        advice += f", set {CACHE_VARIABLE} to another folder, or save the file uncompressed (np.savez)"
    raise DataError(
        f"Keeping {what} needs {needed_bytes / 1e6:.0f} MB in {folder}, and {_SPARE_BYTES / 1e6:.0f} MB to spare, but "
        f"{free / 1e6:.0f} MB are free: {advice}."
    )


def drop_old_entries(keep: Path, needed_bytes: int, limit_bytes: int = CACHE_LIMIT_BYTES) -> None:
    """Drops the least recently used entries until the cache with ``needed_bytes`` more is within its limit."""
    root = cache_folder() / "samples"
    if not root.is_dir():
        return
    entries = sorted((e.stat().st_mtime, e) for e in root.iterdir() if e.is_dir())
    sizes = {entry: sum(f.stat().st_size for f in entry.iterdir()) for _, entry in entries}
    total = sum(sizes.values()) + needed_bytes
    for used_at, entry in entries:
        if total <= limit_bytes:
            return
        if entry != keep and time.time() - used_at > _IN_USE_S:
            shutil.rmtree(entry, ignore_errors=True)
            total -= sizes[entry]

"""Lets one process at a time read or write a table and its journal."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from autocompress.errors import StorageError

_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def locked(path: Path, *, reading_is_enough: bool = False) -> Iterator[None]:
    """Waits until nobody else holds ``<path>.lock``, and holds it.

    Args:
        path: the table; its folder is made where missing.
        reading_is_enough: go on without a lock in a folder that this user cannot write to.

    Raises:
        StorageError: when the folder cannot be written to.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _acquired(lock)
    except OSError as error:
        if not reading_is_enough or error.errno not in _NOT_OURS:
            raise StorageError(f"cannot write {path.name} in {path.parent}: {error.strerror or error}") from error
        yield
        return
    with file:
        yield


@contextmanager
def held(path: Path) -> Iterator[BinaryIO]:
    """A file, open for appending and made where missing, that no other process holds in this way.

    What is guarded by its own file stays guarded when somebody cleans up the lock file beside it.

    Raises:
        OSError: when it cannot be opened.
    """
    with _acquired(path) as file:
        yield file


def _acquired(lock: Path) -> BinaryIO:
    """An open file that holds the lock, and still is the one of that name: someone may have deleted it meanwhile."""
    while True:
        file = lock.open("ab", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()

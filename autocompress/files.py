"""Files that appear whole or not at all.

What is written goes to a temporary file in the same folder, which takes the place of the old file (``rename(2)``, which
is atomic) once it is complete.  A reader sees the old file or the new one; a failure leaves the old one.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from autocompress.errors import StorageError

Place = str | os.PathLike[str]

_ENDING = ".partial"


class Replacement:
    """A file in the making; ``complete`` puts it in its place, ``discard`` leaves no trace of it.

    Args:
        path: the file to make or to replace; its folder must exist.
        durable: whether it must survive a power failure once complete; caches need not.

    Raises:
        OSError: when the folder cannot be written to.
    """

    def __init__(self, path: Place, *, durable: bool = True) -> None:
        self._path = Path(path)
        self._durable = durable
        self._temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}{_ENDING}")
        self.file: BinaryIO = self._temporary.open("xb")

    def complete(self) -> None:
        """Puts the file in its place, with the permissions of the file that it replaces, if there is one.

        Raises:
            OSError: when the disk is full or the place cannot be written; the old file stays as it was.
        """
        try:
            self.file.flush()
            if self._durable:
                os.fsync(self.file.fileno())
            self.file.close()
            with contextlib.suppress(OSError):  # there is no older file, or it belongs to someone else
                shutil.copymode(self._path, self._temporary)
            os.replace(self._temporary, self._path)
        except BaseException:
            self.discard()
            raise
        if self._durable:
            _sync_folder(self._path.parent)

    def discard(self) -> None:
        """Removes what there is of it."""
        with contextlib.suppress(OSError):  # closing writes what is buffered, which a full disk refuses
            self.file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()


@contextlib.contextmanager
def replacing(path: Place, *, durable: bool = True) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of ``path`` at the end; after an exception it leaves no trace.

    Args:
        path: the file to make or to replace; its folder must exist.
        durable: whether it must survive a power failure once complete.

    Raises:
        OSError: when it cannot be written; an older file stays as it was.
    """
    replacement = Replacement(path, durable=durable)
    try:
        yield replacement.file
    except BaseException:
        replacement.discard()
        raise
    replacement.complete()


def remove_remains(path: Place) -> None:
    """Removes what killed processes left of their attempts to replace a file; only for who alone may replace it."""
    place = Path(path)
    for remains in place.parent.glob(f".{glob.escape(place.name)}.*{_ENDING}"):
        with contextlib.suppress(OSError):
            remains.unlink()


def write_text(path: Place, text: str) -> None:
    """Writes a UTF-8 file.

    Raises:
        StorageError: when it cannot be written; an older one is left as it was.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Place, content: bytes) -> None:
    """Writes a file.

    Raises:
        StorageError: when it cannot be written; an older one is left as it was.
    """
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise StorageError(f"{Path(path)} cannot be written ({error.strerror}); give another place") from error


def _sync_folder(folder: Path) -> None:
    """Makes the new name durable too, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

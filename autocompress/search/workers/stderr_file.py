"""A worker's standard error: kept small, and its end quoted when the worker dies."""

from __future__ import annotations

import fcntl
import os
import tempfile

_TAIL_BYTES = 4096
_MAX_FILE_BYTES = 8 * 1024 * 1024


class StderrFile:
    """An unnamed temporary file, so that nothing stays behind however the processes end.

    Not a pipe: nobody need read it for the worker to go on, and a crash's last words are there afterwards.
    """

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # open as long as the worker lives
        fd = self.file.fileno()
        # Appending, so that the worker goes on at the new end after `trim`.
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
        self._task_start = 0

    def mark(self) -> None:
        """Says that what follows belongs to a new task."""
        self._task_start = self._size()

    def trim(self) -> None:
        """Keeps a worker that prints without end from filling the disk; call it now and then."""
        if self._size() > _MAX_FILE_BYTES:
            tail = self.tail()
            os.ftruncate(self.file.fileno(), 0)
            self._task_start = 0
            os.write(self.file.fileno(), tail.encode())

    def tail(self) -> str:
        """The last lines since :meth:`mark`."""
        size = self._size()
        start = max(self._task_start, size - _TAIL_BYTES)
        text = os.pread(self.file.fileno(), max(0, size - start), start).decode(errors="replace").strip()
        return text if start == self._task_start else f"... {text.partition(chr(10))[2] or text}"

    def close(self) -> None:
        """Removes the file."""
        self.file.close()

    def _size(self) -> int:
        return os.fstat(self.file.fileno()).st_size

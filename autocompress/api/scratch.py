"""The folder in which a run keeps what its processes share: inside the output folder, and gone when the run ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from autocompress.data.spool import process_alive

_PREFIX = ".work-"


@contextlib.contextmanager
def scratch_folder(output: Path) -> Iterator[Path]:
    """A new folder in ``output`` that goes away on leaving; those of killed runs of this host go away now.

    Its name tells its owner: ``.work-<host>-<pid>-<random>``.
    """
    _sweep(output)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{socket.gethostname()}-{os.getpid()}-", dir=output))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(output: Path) -> None:
    for folder in output.glob(f"{_PREFIX}{socket.gethostname()}-*-*"):
        pid = folder.name.split("-")[-2]
        if pid.isdigit() and not process_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)

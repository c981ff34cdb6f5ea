"""The folders in which a run keeps what its processes share, inside the output folder.

One is gone when the run ends; the stems and rounded weights of a study, which may have been trained for hours, stay for
its resumption.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from autocompress.data.spool import process_alive
from autocompress.recipe.recipe import digest

_PREFIX = ".work-"
STEMS = "stems"


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


def stem_folder(output: Path, study: str, storage: str, resume: bool) -> Path:
    """The folder in ``output`` for what one study trains; it is made when something is, and empty unless resumed.

    Args:
        output: of the run.
        study: its name.
        storage: the database that it is kept in.
        resume: whether the study goes on.
    """
    folder = output / STEMS / digest([study, storage])
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    return folder


def _sweep(output: Path) -> None:
    for folder in output.glob(f"{_PREFIX}{socket.gethostname()}-*-*"):
        pid = folder.name.split("-")[-2]
        if pid.isdigit() and not process_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)

"""How a worker process is started: the same interpreter and import path, its own session, few threads."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from autocompress.errors import ConfigError

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


_PIPE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Launch:
    """What every worker of one executor starts with; taken once, so that a replacement equals what it replaces.

    Attributes:
        python: the interpreter.
        paths: import path.
        environment: environment variables.
        folder: working directory; None where the present one no longer exists.
    """

    python: str
    paths: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str | None

    @classmethod
    def like_this_process(cls, threads_per_worker: int) -> Launch:
        """Interpreter, import path, environment and folder of this process, with ``threads_per_worker`` threads.

        Raises:
            ConfigError: where the interpreter is not known.
        """
        if not sys.executable:
            raise ConfigError("this Python does not know its own interpreter; run with 0 workers")
        environment = dict(os.environ)
        environment.update(dict.fromkeys(_THREAD_VARIABLES, str(threads_per_worker)))
        environment.setdefault("ORT_DISABLE_TELEMETRY", "1")
        folder = _current_folder()
        # Relative entries mean this process's folder, also after it has moved on.
        paths = tuple(os.path.join(folder or "", path) for path in sys.path if isinstance(path, str))
        return cls(sys.executable, paths, environment, folder)

    def start(self, leash_fd: int, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Starts one worker; its pipes are unbuffered and the parent's ends do not block.

        Args:
            leash_fd: read end of the leash, which the worker inherits.
            stderr: takes all that the worker prints.

        Raises:
            OSError: when the system cannot start a process.
        """
        # Not ``-m``: the import path must be right before the first import, and so the main module stays out of it.
        code = (
            f"import sys; sys.path[:] = {list(self.paths)!r}; "
            f"from autocompress.search.workers.child import main; main({leash_fd})"
        )
        process = subprocess.Popen(
            [self.python, "-c", code],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            pass_fds=(leash_fd,),
            env=self.environment,
            cwd=self.folder,
            start_new_session=True,  # out of reach of the terminal's Ctrl-C, and one group to kill
        )
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            _widen(pipe.fileno())
        return process


def _widen(pipe_fd: int) -> None:
    """Lets large payloads through in larger pieces, where the system allows."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None

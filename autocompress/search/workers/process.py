"""One worker process as its parent sees it: a call goes in, an answer comes out, or the process is gone."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess

from autocompress.search.workers.failure import exit_cause, with_last_words
from autocompress.search.workers.frames import HEADER_BYTES, header, payload_bytes
from autocompress.search.workers.guard import Guard, PipeClosed, Stopped, Watch
from autocompress.search.workers.launch import Launch
from autocompress.search.workers.memory import resident_bytes
from autocompress.search.workers.stderr_file import StderrFile

_LAST_BREATH_S = 5.0
_POLITE_EXIT_S = 2.0


class WorkerLost(Exception):  # never leaves this package
    """The process ended, or was ended, before it answered.

    Attributes:
        cause: one sentence without its full stop.
        stderr_tail: what it printed last.
        delivered: whether it had got the whole call; if not, the call may be made again elsewhere.
    """

    def __init__(self, cause: str, stderr_tail: str, delivered: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self.stderr_tail = stderr_tail
        self.delivered = delivered


class WorkerProcess:
    """A started child process; owned and used by one thread.

    Raises:
        OSError: when the system cannot start a process.
    """

    def __init__(self, launch: Launch) -> None:
        with contextlib.ExitStack() as undo:
            self._stderr = StderrFile()
            undo.callback(self._stderr.close)
            leash_fd, self._leash_fd = os.pipe()
            undo.callback(os.close, self._leash_fd)
            try:
                self._process = launch.start(leash_fd, self._stderr.file)
            finally:
                os.close(leash_fd)
            undo.pop_all()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._calls = self._process.stdin
        self._answers = self._process.stdout

    @property
    def resident_bytes(self) -> int | None:
        """Resident memory now, or None where that is not known."""
        return resident_bytes(self._process.pid)

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def exchange(self, call: bytes, name: str, guard: Guard) -> bytearray:
        """Sends one packed call and waits for its answer.

        Args:
            call: as packed by :func:`autocompress.search.workers.transport.pack_call`.
            name: what the call is named in messages.
            guard: when to give up.

        Returns:
            The pickled (succeeded, value or error).

        Raises:
            WorkerLost: when the process ended instead; it has then been cleaned up with all its children.
        """
        self._stderr.mark()
        watch = Watch(self._process, self._stderr, name, guard)
        delivered = False
        try:
            self._send(header(len(call)), watch)
            self._send(call, watch)
            delivered = True
            size_bytes = payload_bytes(self._receive(HEADER_BYTES, watch))
            return self._receive(size_bytes, watch)
        except Stopped as stopped:
            cause, delivered = str(stopped), True
            self.kill()
        except ValueError:
            cause = f"{name} wrote to the worker's own pipe and was stopped"
            self.kill()
        except (OSError, MemoryError) as error:
            cause = f"the answer of {name} could not be read ({type(error).__name__}: {error})"
            self.kill()
        except PipeClosed:
            cause = self._cause_of_death(name)
        raise WorkerLost(cause, self._bury(), delivered)

    def close(self) -> None:
        """Lets an idle worker end by itself, killing it when it does not; then cleans up."""
        self._calls.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_POLITE_EXIT_S)
        self.kill()
        self._bury()

    def kill(self) -> None:
        """Kills the process and whatever it started; harmless when it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    def _send(self, data: bytes, watch: Watch) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._calls.fileno(), rest) :]
            except BlockingIOError:
                watch.wait(self._calls.fileno(), select.POLLOUT)
            except BrokenPipeError:
                raise PipeClosed from None

    def _receive(self, size_bytes: int, watch: Watch) -> bytearray:
        data = bytearray(size_bytes)
        rest = memoryview(data)
        while rest:
            try:
                count = os.readv(self._answers.fileno(), [rest])
            except BlockingIOError:
                watch.wait(self._answers.fileno(), select.POLLIN)
                continue
            if count == 0:
                raise PipeClosed
            rest = rest[count:]
        return data

    def _cause_of_death(self, name: str) -> str:
        try:
            # A pipe closes a moment before its process is gone.
            returncode = self._process.wait(_LAST_BREATH_S)
        except subprocess.TimeoutExpired:
            return f"{name} closed the worker's own pipe and was stopped"
        return with_last_words(exit_cause(returncode, name), self._stderr.tail())

    def _bury(self) -> str:
        """Takes the process and its children off the system, closes everything, returns what was said last."""
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_BREATH_S)
        tail = self._stderr.tail()
        self._calls.close()
        self._answers.close()
        self._stderr.close()
        os.close(self._leash_fd)
        return tail

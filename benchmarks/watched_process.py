"""Runs a command with a watch on time and memory of all its processes (Linux: reads /proc)."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_EVERY_S = 0.1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_GRACE_S = 20.0


@dataclass(frozen=True)
class Finished:
    """What became of a command.

    Attributes:
        exit_code: negative for a signal, as in ``subprocess``.
        stdout: what it printed.
        stderr: the same for standard error.
        seconds: wall time.
        peak_rss_bytes: most resident memory of its processes together, seen in samples; shared pages count once per
            process, so this is an upper figure.
        peak_process_rss_bytes: most resident memory of any one of them, as the kernel recorded it; never less than that
            of the process that starts them, which counts until the command takes its place.
        stopped: whether it ran over its time and was ended.
    """

    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    peak_rss_bytes: int
    peak_process_rss_bytes: int
    stopped: bool


def run_watched(
    command: Sequence[str], folder: Path, limit_s: float, environment: Mapping[str, str] | None = None
) -> Finished:
    """Runs ``command`` in ``folder``; after ``limit_s`` it is interrupted (as by Ctrl-C), then killed."""
    with open(folder / "stdout.txt", "w+") as stdout, open(folder / "stderr.txt", "w+") as stderr:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, stdout=stdout, stderr=stderr, env=environment, start_new_session=True
        )
        try:
            peak, stopped, status, usage = _watch(process.pid, start + limit_s)
        finally:
            _signal_group(process.pid, signal.SIGKILL)  # nothing of it may outlive the measurement
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        stderr.seek(0)
        return Finished(
            exit_code=process.returncode,
            stdout=stdout.read(),
            stderr=stderr.read(),
            seconds=seconds,
            peak_rss_bytes=peak,
            peak_process_rss_bytes=usage.ru_maxrss * 1024,
            stopped=stopped,
        )


def _watch(pid: int, deadline: float) -> tuple[int, bool, int, resource.struct_rusage]:
    peak, signals = 0, [signal.SIGINT, signal.SIGKILL]
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return peak, len(signals) < 2, status, usage
        peak = max(peak, _session_rss(pid))
        if time.perf_counter() > deadline and signals:
            _signal_group(pid, signals.pop(0))
            deadline += _GRACE_S
        time.sleep(SAMPLE_EVERY_S)


def _signal_group(pid: int, which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, which)


def _session_rss(session: int) -> int:
    """Resident bytes of all processes of one session, together."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    total += int(fields[21]) * _PAGE_BYTES
            except (OSError, ValueError, IndexError):
                continue  # it ended while being looked at
    return total

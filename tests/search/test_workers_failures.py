"""A task that crashes, hangs or swells is one failed future with its cause; everything else goes on."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autocompress.errors import CandidateFailed
from autocompress.search.workers import GuardedProcessExecutor

sys.path.append(str(Path(__file__).parent))
import worker_tasks as tasks

MB = 1 << 20


@pytest.fixture(scope="module")
def one() -> Iterator[GuardedProcessExecutor]:
    with GuardedProcessExecutor(1, task_timeout_s=20.0, memory_limit_bytes=300 * MB) as executor:
        yield executor


def failure(executor: GuardedProcessExecutor, fn: object, *args: object) -> CandidateFailed:
    error = executor.submit(fn, *args).exception(timeout=15)  # type: ignore[arg-type]
    assert type(error) is CandidateFailed
    assert executor.submit(tasks.square, 3).result(timeout=15) == 9, "the executor must go on"
    return error


def gone(pid: int, within_s: float = 3.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_segfault_names_signal_task_and_python_line(one: GuardedProcessExecutor) -> None:
    error = failure(one, tasks.null_dereference)
    assert str(error) == "the runtime crashed with SIGSEGV while running null_dereference"
    assert "in null_dereference" in "".join(error.__notes__)


def test_abort_carries_the_last_words(one: GuardedProcessExecutor) -> None:
    error = failure(one, tasks.abort_with_words, "terminate called: scale must be positive")
    assert "SIGABRT while running abort_with_words" in str(error)
    assert str(error).endswith("its last words: terminate called: scale must be positive")


def test_last_words_are_those_of_the_task_alone(one: GuardedProcessExecutor) -> None:
    assert one.submit(tasks.say, "earlier chatter", 3).result(timeout=15) == "said"
    assert "chatter" not in str(failure(one, tasks.exit_at_once, 1))


@pytest.mark.parametrize("code", [0, 3])
def test_os_exit(one: GuardedProcessExecutor, code: int) -> None:
    assert f"ended with exit code {code} while running exit_at_once" in str(failure(one, tasks.exit_at_once, code))


def test_a_kill_that_is_not_ours_suggests_memory(one: GuardedProcessExecutor) -> None:
    assert "killed by signal 9 (out of memory?) while running kill_self" in str(failure(one, tasks.kill_self))


def test_hang_is_stopped(one: GuardedProcessExecutor) -> None:
    begin = time.monotonic()
    error = one.submit_with_timeout(0.3, tasks.sleep, 60).exception(timeout=10)
    assert str(error) == "sleep ran longer than 0.3 s and was stopped"
    assert isinstance(error, CandidateFailed)
    assert 0.3 <= time.monotonic() - begin < 2


def test_hang_that_holds_the_interpreter_lock_is_stopped(one: GuardedProcessExecutor, tmp_path: Path) -> None:
    place = tmp_path / "pid"
    error = one.submit_with_timeout(0.5, tasks.hold_the_lock, str(place), 60).exception(timeout=10)
    assert "ran longer than 0.5 s" in str(error)
    assert gone(int(place.read_text()))


def test_default_timeout_applies_and_none_lifts_it() -> None:
    with GuardedProcessExecutor(1, task_timeout_s=0.2) as executor:
        assert "ran longer than 0.2 s" in str(executor.submit(tasks.sleep, 30).exception(timeout=10))
        assert executor.submit_with_timeout(None, tasks.sleep, 0.5).result(timeout=10) == 0.5


def test_time_spent_waiting_for_a_worker_does_not_count(one: GuardedProcessExecutor) -> None:
    first = one.submit(tasks.sleep, 0.6)
    second = one.submit_with_timeout(0.4, tasks.sleep, 0.05)
    assert (first.result(timeout=10), second.result(timeout=10)) == (0.6, 0.05)


def test_memory_hog_is_stopped_at_the_limit(one: GuardedProcessExecutor) -> None:
    error = failure(one, tasks.hog, 600)
    assert str(error).startswith("hog used 3")
    assert str(error).endswith("MB of memory, more than the limit of 300 MB, and was stopped")


def test_below_the_memory_limit_nothing_happens(one: GuardedProcessExecutor) -> None:
    assert one.submit(tasks.hog, 100).result(timeout=15) == 10


def test_memory_error_is_named(one: GuardedProcessExecutor) -> None:
    error = failure(one, tasks.raise_memory_error)
    assert str(error) == "raise_memory_error ran out of memory (MemoryError: no room for 8 TB)"


def test_what_a_task_leaves_behind_does_not_fail_the_next(one: GuardedProcessExecutor) -> None:
    pid = one.submit(tasks.keep, 220).result(timeout=15)
    assert one.submit(tasks.keep, 150).result(timeout=15) != pid


def test_a_worker_killed_while_idle_costs_no_task(one: GuardedProcessExecutor) -> None:
    pid = one.submit(tasks.identity).result(timeout=15)
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert one.submit(tasks.identity).result(timeout=15) != pid


def test_children_of_a_crashed_task_are_killed(one: GuardedProcessExecutor, tmp_path: Path) -> None:
    place = tmp_path / "pid"
    failure(one, tasks.start_grandchild, str(place))
    assert gone(int(place.read_text()))


def test_children_of_a_hanging_task_are_killed(one: GuardedProcessExecutor, tmp_path: Path) -> None:
    place = tmp_path / "pids"
    error = one.submit_with_timeout(0.5, tasks.start_grandchild_and_sleep, str(place)).exception(timeout=10)
    assert "ran longer" in str(error)
    assert all(gone(int(pid)) for pid in place.read_text().split())


def test_an_orphan_that_holds_the_pipes_does_not_hang_the_executor(one: GuardedProcessExecutor, tmp_path: Path) -> None:
    place = tmp_path / "pid"
    try:
        assert "exit code 7" in str(failure(one, tasks.fork_daemon_and_die, str(place)))
    finally:
        os.kill(int(place.read_text()), signal.SIGKILL)


def test_foreign_bytes_on_the_pipe(one: GuardedProcessExecutor) -> None:
    assert "scribble_on_pipes wrote to the worker's own pipe" in str(failure(one, tasks.scribble_on_pipes))


def test_closed_pipe(one: GuardedProcessExecutor) -> None:
    assert "while running close_pipes" in str(failure(one, tasks.close_pipes))


def test_endless_chatter_neither_blocks_nor_shows(
    one: GuardedProcessExecutor, capfd: pytest.CaptureFixture[str]
) -> None:
    assert one.submit(tasks.say, "x" * 1000, 20_000).result(timeout=15) == "said"
    assert capfd.readouterr() == ("", "")


def test_crashes_leave_no_descriptors_processes_or_threads() -> None:
    def held() -> tuple[int, int, set[str]]:
        children = {child for path in Path("/proc/self/task").glob("*/children") for child in path.read_text().split()}
        threads = len(list(Path("/proc/self/task").iterdir()))
        return len(os.listdir("/proc/self/fd")), threads, children

    before = held()
    with GuardedProcessExecutor(2, task_timeout_s=5.0) as executor:
        crashed = [executor.submit(tasks.null_dereference) for _ in range(6)]
        assert all(isinstance(future.exception(timeout=15), CandidateFailed) for future in crashed)
    end = time.monotonic() + 2  # a joined thread leaves the system a moment later
    while held() != before and time.monotonic() < end:
        time.sleep(0.01)
    assert held() == before

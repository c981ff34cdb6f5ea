"""Whatever happens to the parent, no worker outlives it; and the parent's main module does not matter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PREAMBLE = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
import os, time, worker_tasks as tasks
from autocompress.search.workers import GuardedProcessExecutor
"""


def script(body: str) -> str:
    return PREAMBLE + textwrap.dedent(body)


def run(body: str, **options: object) -> str:
    done = subprocess.run([sys.executable, "-c", script(body)], capture_output=True, text=True, timeout=30, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    started: list[subprocess.Popen[str]] = []

    def begin(body: str) -> subprocess.Popen[str]:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", script(body)],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(scratch)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def read_pids(path: Path, within_s: float = 10.0) -> list[int]:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if path.exists() and (text := path.read_text()):
            return [int(pid) for pid in text.split()]
        time.sleep(0.01)
    raise AssertionError(f"{path.name} never came")


def still_there(pids: list[int], within_s: float = 3.0) -> list[int]:
    end = time.monotonic() + within_s
    while pids and time.monotonic() < end:
        time.sleep(0.02)
        pids = [pid for pid in pids if _runs(pid)]
    return pids


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_parent_takes_all_with_it(start: object, tmp_path: Path, blow: signal.Signals) -> None:
    parent = start("""
        executor = GuardedProcessExecutor(4)
        futures = [executor.submit(tasks.mark_and_sleep, "a", 60), executor.submit(tasks.hold_the_lock, "b", 60)]
        futures.append(executor.submit(tasks.start_grandchild_and_sleep, "c"))
        idle = executor.submit(tasks.identity).result()
        open("idle", "w").write(str(idle))
        time.sleep(60)
    """)  # type: ignore[operator]
    pids = [pid for name in ("a", "b", "c", "idle") for pid in read_pids(tmp_path / name)]
    assert len(pids) == 5
    assert all(_runs(pid) for pid in pids)
    parent.send_signal(blow)
    parent.wait(10)
    assert still_there(pids) == []
    assert os.listdir(tmp_path / "scratch") == []


def test_the_watching_thread_does_it_where_the_kernel_does_not() -> None:
    code = """
        import subprocess
        from autocompress.search.workers import leash
        leash._kill_by_kernel = lambda fd: False
        leash.hold(int(sys.argv[1]))
        child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
        print(child.pid, flush=True)
        time.sleep(60)
    """
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", script(code), str(read_end)],
        pass_fds=(read_end,),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(read_end)
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    os.close(write_end)
    assert process.wait(10) == -signal.SIGKILL
    process.stdout.close()
    assert still_there([grandchild]) == []


def test_a_parent_that_died_first_is_noticed_at_once() -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    code = script("from autocompress.search.workers import leash; leash.hold(int(sys.argv[1])); time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", code, str(read_end)], pass_fds=(read_end,))
    os.close(read_end)
    assert process.wait(10) == -signal.SIGKILL


def test_ctrl_c_reaches_only_the_parent_which_decides(start: object, tmp_path: Path) -> None:
    parent = start("""
        executor = GuardedProcessExecutor(1)
        future = executor.submit(tasks.mark_and_sleep, "pid", 1.0)
        try:
            future.result()
        except KeyboardInterrupt:
            print("interrupted", future.result(), flush=True)
        executor.shutdown()
    """)  # type: ignore[operator]
    pids = read_pids(tmp_path / "pid")
    os.killpg(parent.pid, signal.SIGINT)
    os.kill(pids[0], signal.SIGINT)  # as from a terminal that takes no notice of sessions
    out, err = parent.communicate(timeout=15)
    assert (parent.returncode, out) == (0, "interrupted slept\n"), err
    assert still_there(pids) == []


def test_ctrl_c_in_a_with_block_ends_quickly(start: object, tmp_path: Path) -> None:
    parent = start("""
        with GuardedProcessExecutor(2) as executor:
            executor.submit(tasks.mark_and_sleep, "pid", 60).result()
    """)  # type: ignore[operator]
    pids = read_pids(tmp_path / "pid")
    begin = time.monotonic()
    os.killpg(parent.pid, signal.SIGINT)
    _, err = parent.communicate(timeout=15)
    assert time.monotonic() - begin < 3
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert still_there(pids) == []


def test_a_forgotten_shutdown_does_not_keep_the_interpreter(start: object, tmp_path: Path) -> None:
    parent = start("""
        executor = GuardedProcessExecutor(2)
        executor.submit(tasks.mark_and_sleep, "pid", 60)
        while not os.path.exists("pid"):
            time.sleep(0.01)
    """)  # type: ignore[operator]
    pids = read_pids(tmp_path / "pid")
    _, err = parent.communicate(timeout=10)
    assert (parent.returncode, err) == (0, "")
    assert still_there(pids) == []


MAIN_MODULE = """
from dataclasses import dataclass
from autocompress.errors import AutocompressError

@dataclass
class Point:
    x: int

class Mine(AutocompressError):
    pass

OFFSET = 10
loaded = {}

def load(value):
    loaded["value"] = value

def move(point, by):
    return Point(point.x + by(OFFSET))

def refuse():
    raise Mine("not today")

executor = GuardedProcessExecutor(1, initializer=load, initargs=({"a": 1},))
assert executor.submit(move, Point(1), lambda x: 2 * x).result() == Point(21)
error = executor.submit(refuse).exception()
assert type(error) is Mine and str(error) == "not today", repr(error)
executor.shutdown()
print("ran once")
"""


@pytest.mark.parametrize("how", ["script", "dash-c", "stdin", "module"])
def test_functions_of_the_main_module_need_no_guard(tmp_path: Path, how: str) -> None:
    text = script(MAIN_MODULE)
    (tmp_path / "mine.py").write_text(text)
    arguments = {"script": ["mine.py"], "dash-c": ["-c", text], "stdin": ["-"], "module": ["-m", "mine"]}[how]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=text if how == "stdin" else None,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.stderr) == ("ran once\n", "")


def test_modules_of_the_working_folder_import_also_after_the_parent_moved_on(tmp_path: Path) -> None:
    (tmp_path / "my_metric.py").write_text("def score(x):\n    return x + 1\n")
    (tmp_path / "elsewhere").mkdir()
    body = """
        sys.path.insert(0, "")
        import my_metric
        with GuardedProcessExecutor(1) as executor:
            os.chdir("elsewhere")
            executor.submit(os.abort).exception()
            print(executor.submit(my_metric.score, 1).result(), executor.submit(os.getcwd).result())
    """
    assert run(body, cwd=tmp_path).split() == ["2", str(tmp_path)]


def test_address_space_is_limited_where_resident_memory_is_not_told() -> None:
    body = """
        from autocompress.search.workers import memory
        memory.resident_bytes = lambda pid: None
        memory.limit_address_space(400 << 20)
        try:
            bytearray(600 << 20)
        except MemoryError:
            print("limited", len(bytearray(50 << 20)) >> 20)
    """
    assert run(body) == "limited 50\n"

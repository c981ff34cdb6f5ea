"""Tasks that worker processes import by name: well-behaved ones and every kind of bad one."""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

from autocompress.errors import AutocompressError, DataError, MetricError, RecipeError

STATE: dict[str, object] = {}
KEPT: list[bytes] = []


class TwoPartError(AutocompressError):
    """Pickles, but cannot be rebuilt from its message alone."""

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(f"{layer}: {reason}")


class NotFromMessage(Exception):
    """Same, and not one of ours."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} {b}")


class PoisonResult:
    """Comes back from a worker only to raise in the parent."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (int, ("not a number",))


def remember(value: object) -> None:
    STATE["value"] = value
    STATE["calls"] = int(STATE.get("calls", 0)) + 1


def remembered() -> tuple[object, object]:
    return STATE.get("value"), STATE.get("calls")


def square(x: float) -> float:
    return x * x


def keywords(a: int, *, b: int) -> tuple[int, int]:
    return a, b


def echo(value: object) -> object:
    return value


def identity() -> int:
    return os.getpid()


def environment(name: str) -> str | None:
    return os.environ.get(name)


def loaded_modules() -> set[str]:
    return set(sys.modules)


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def mark_and_sleep(path: str, seconds: float) -> str:
    Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)
    return "slept"


def hold_the_lock(path: str, seconds: int) -> None:
    """Hangs in native code without ever giving up the interpreter lock."""
    Path(path).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(seconds)


def null_dereference() -> None:
    ctypes.string_at(0)


def abort_with_words(words: str) -> None:
    print(words, file=sys.stderr)
    os.abort()


def exit_at_once(code: int) -> None:
    os._exit(code)


def sys_exit(code: int) -> None:
    sys.exit(code)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hog(size_mb: int) -> int:
    blocks = []
    for _ in range(size_mb // 10):
        blocks.append(b"\1" * (10 << 20))
        time.sleep(0.002)
    time.sleep(1)
    return len(blocks)


def keep(size_mb: int) -> int:
    KEPT.append(b"\1" * (size_mb << 20))
    return os.getpid()


def raise_memory_error() -> None:
    raise MemoryError("no room for 8 TB")


def raise_value_error() -> None:
    raise ValueError("first line\n   second line")


def raise_metric_error() -> None:
    raise MetricError("the metric returned NaN for sample 3; return a finite number")


def raise_two_part() -> None:
    raise TwoPartError("conv1", "bad scale")


def raise_not_from_message() -> None:
    raise NotFromMessage(1, 2)


def raise_recipe_error_from_key() -> None:
    try:
        {}["missing"]
    except KeyError as error:
        raise RecipeError("step 2 names no layer") from error


def raise_keyboard_interrupt() -> None:
    raise KeyboardInterrupt


def unpicklable() -> object:
    return open(os.devnull)


def poison() -> PoisonResult:
    return PoisonResult()


def say(words: str, times: int) -> str:
    for _ in range(times):
        print(words)
        print(words, file=sys.stderr)
    return "said"


def scribble_on_pipes() -> None:
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.write(fd, b"hello, this is no frame at all")
        except OSError:
            continue
    time.sleep(60)


def close_pipes() -> None:
    os.closerange(3, 64)


def start_grandchild(path: str) -> None:
    """Leaves a process in the worker's group, then crashes."""
    process = subprocess.Popen(["sleep", "60"])
    Path(path).write_text(str(process.pid))
    os.abort()


def start_grandchild_and_sleep(path: str) -> None:
    process = subprocess.Popen(["sleep", "60"])
    Path(path).write_text(f"{os.getpid()} {process.pid}")
    time.sleep(60)


def fork_daemon_and_die(path: str) -> None:
    """Leaves a forked process of another session that holds copies of the worker's pipes, then ends."""
    if os.fork() == 0:
        os.setsid()
        Path(path).write_text(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    while not Path(path).exists() or not Path(path).read_text():
        time.sleep(0.005)
    os._exit(7)


def no_such_data() -> None:
    raise DataError("data.npz holds no array named 'input'; rename it")


def broken_initializer() -> None:
    raise ValueError("weights are corrupt")


def counting_crash(path: str) -> None:
    with open(path, "a") as file:
        file.write("x")
    os.abort()


def crash_once(path: str) -> None:
    """An initializer that fails the first time only."""
    if not Path(path).exists():
        Path(path).write_text("crashed")
        os.abort()


def crash_after_first(path: str) -> None:
    """An initializer that works only the first time."""
    if Path(path).exists():
        os.abort()
    Path(path).write_text("started")


def load_session(model: bytes) -> None:
    import onnxruntime

    STATE["session"] = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def run_session(x: object) -> object:
    return STATE["session"].run(None, {"x": x})[0]  # type: ignore[attr-defined]

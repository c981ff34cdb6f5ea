"""Results and exceptions that do not travel well between processes; and the parts that make the messages."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocompress.errors import CandidateFailed
from autocompress.search.workers import GuardedProcessExecutor, InlineExecutor
from autocompress.search.workers.failure import call_name, exit_cause, with_last_words
from autocompress.search.workers.frames import HEADER_BYTES, header, payload_bytes
from autocompress.search.workers.transport import called_name, pack_call, unpack_call

sys.path.append(str(Path(__file__).parent))
import worker_tasks as tasks


@pytest.fixture(scope="module")
def one() -> Iterator[GuardedProcessExecutor]:
    with GuardedProcessExecutor(1) as executor:
        yield executor


def test_result_that_cannot_be_pickled(one: GuardedProcessExecutor) -> None:
    error = one.submit(tasks.unpicklable).exception(timeout=15)
    assert isinstance(error, CandidateFailed)
    assert "sending back the result of unpicklable failed with TypeError" in str(error)


def test_result_that_cannot_be_read(one: GuardedProcessExecutor) -> None:
    error = one.submit(tasks.poison).exception(timeout=15)
    assert isinstance(error, CandidateFailed)
    assert "reading the result of poison failed with ValueError" in str(error)


def test_arguments_that_cannot_be_pickled_fail_the_future_not_the_caller(one: GuardedProcessExecutor) -> None:
    error = one.submit(tasks.echo, threading.Lock()).exception(timeout=15)
    assert isinstance(error, CandidateFailed)
    assert "sending echo to a worker process failed with TypeError" in str(error)


def test_arguments_that_cannot_be_read_over_there(one: GuardedProcessExecutor) -> None:
    error = one.submit(tasks.echo, tasks.PoisonResult()).exception(timeout=15)
    assert isinstance(error, CandidateFailed)
    assert "echo failed with ValueError" in str(error)


def test_interrupt_raised_in_a_worker_is_a_failed_task(one: GuardedProcessExecutor) -> None:
    error = one.submit(tasks.raise_keyboard_interrupt).exception(timeout=15)
    assert isinstance(error, CandidateFailed)
    assert "KeyboardInterrupt" in str(error)


def test_interrupt_of_an_inline_task_goes_to_the_caller() -> None:
    with pytest.raises(KeyboardInterrupt), InlineExecutor() as executor:
        executor.submit(tasks.raise_keyboard_interrupt)


def test_class_and_exception_defined_inside_a_function_come_back_as_themselves(one: GuardedProcessExecutor) -> None:
    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

    result = one.submit(lambda local: Local(local.x + 1), Local(1)).result(timeout=15)
    assert type(result) is Local
    assert result.x == 2


@pytest.mark.parametrize(
    ("returncode", "cause"),
    [
        (-11, "the runtime crashed with SIGSEGV while running f"),
        (-9, "the worker process was killed by signal 9 (out of memory?) while running f"),
        (-15, "the worker process was ended by SIGTERM while running f"),
        (-63, "the runtime crashed with signal 63 while running f"),
        (2, "the worker process ended with exit code 2 while running f"),
    ],
)
def test_exit_cause(returncode: int, cause: str) -> None:
    assert exit_cause(returncode, "f") == cause


def test_last_words_leave_out_the_dump_of_the_interpreter() -> None:
    tail = "noise\nwhat(): bad_alloc\nFatal Python error: Aborted\n\nCurrent thread"
    assert with_last_words("it crashed", tail) == "it crashed; its last words: noise / what(): bad_alloc"
    assert with_last_words("it crashed", "Fatal Python error: Aborted") == "it crashed"


def test_call_name() -> None:
    def inner() -> None: ...

    assert call_name(inner) == "inner"
    assert call_name(functools.partial(tasks.square, 1)) == "square"
    assert call_name(threading.Event().set) == "Event.set"


@given(st.integers(0, 2**63))
def test_header_announces_any_size(size_bytes: int) -> None:
    assert len(header(size_bytes)) == HEADER_BYTES
    assert payload_bytes(header(size_bytes)) == size_bytes


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES).filter(lambda head: not head.startswith(b"acw1")))
def test_foreign_header_is_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match="expected a message header"):
        payload_bytes(head)


@given(st.text(max_size=300), st.lists(st.integers()), st.dictionaries(st.text(), st.floats(allow_nan=False)))
def test_packed_calls(name: str, args: list[int], kwargs: dict[str, float]) -> None:
    packed = pack_call(name.encode(errors="replace").decode(), tasks.echo, tuple(args), kwargs)
    assert called_name(packed) == name.encode(errors="replace").decode()
    assert unpack_call(bytearray(packed)) == (tasks.echo, tuple(args), kwargs)

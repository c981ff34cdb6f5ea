"""Many tasks, large payloads, cancelling, shutting down."""

from __future__ import annotations

import concurrent.futures
import gc
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from autocompress.errors import CandidateFailed
from autocompress.search.workers import GuardedProcessExecutor

sys.path.append(str(Path(__file__).parent))
import worker_tasks as tasks


def test_many_small_tasks_cost_little() -> None:
    with GuardedProcessExecutor(2) as executor:
        executor.submit(tasks.square, 0).result(timeout=15)
        begin = time.perf_counter()
        futures = [executor.submit(tasks.square, i) for i in range(1000)]
        assert [future.result(timeout=15) for future in futures] == [i * i for i in range(1000)]
        assert time.perf_counter() - begin < 2.0
        rounds_s = []
        for _ in range(5):  # the quietest counts: the machine has other work too
            begin = time.perf_counter()
            for i in range(40):
                assert executor.submit(tasks.square, i).result(timeout=15) == i * i
            rounds_s.append(time.perf_counter() - begin)
        assert min(rounds_s) / 40 < 0.002


def test_one_worker_runs_in_order_of_submission(tmp_path: Path) -> None:
    with GuardedProcessExecutor(1) as executor:
        done: list[int] = []
        for i in range(50):
            executor.submit(tasks.echo, i).add_done_callback(lambda future: done.append(future.result()))
    assert done == list(range(50))


def test_crashes_among_many_fail_alone() -> None:
    with GuardedProcessExecutor(2) as executor:
        futures = [executor.submit(tasks.exit_at_once if i % 10 == 5 else tasks.echo, i) for i in range(40)]
        for i, future in enumerate(futures):
            if i % 10 == 5:
                assert isinstance(future.exception(timeout=15), CandidateFailed)
            else:
                assert future.result(timeout=15) == i


def test_large_payloads_both_ways_and_both_workers() -> None:
    payload = np.random.default_rng(0).integers(0, 255, 50_000_000, dtype=np.uint8)
    with GuardedProcessExecutor(2) as executor:
        futures = [executor.submit(tasks.echo, payload) for _ in range(2)]
        for future in futures:
            np.testing.assert_array_equal(future.result(timeout=30), payload)


def test_a_crash_in_the_middle_of_a_large_answer_or_call() -> None:
    with GuardedProcessExecutor(1) as executor:
        error = executor.submit(tasks.exit_at_once, bytes(20_000_000)).exception(timeout=15)
        assert isinstance(error, CandidateFailed)
        assert executor.submit(tasks.echo, b"x").result(timeout=15) == b"x"


def test_arguments_are_taken_when_submitted() -> None:
    with GuardedProcessExecutor(1) as executor:
        executor.submit(tasks.sleep, 0.2)
        values = [1, 2]
        future = executor.submit(tasks.echo, values)
        values.append(3)
        assert future.result(timeout=15) == [1, 2]


def test_waiting_futures_can_be_cancelled_and_running_ones_cannot(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with GuardedProcessExecutor(1) as executor:
        running = executor.submit(tasks.mark_and_sleep, str(mark), 0.4)
        waiting = executor.submit(tasks.remember, "never")
        after = executor.submit(tasks.remembered)
        while not mark.exists():
            time.sleep(0.005)
        assert not running.cancel()
        assert waiting.cancel()
        assert running.result(timeout=15) == "slept"
        assert after.result(timeout=15) == (None, None), "the cancelled task must not have run"


def test_shutdown_finishes_what_waits() -> None:
    executor = GuardedProcessExecutor(2)
    futures = [executor.submit(tasks.sleep, 0.02) for _ in range(10)]
    executor.shutdown(wait=True)
    assert all(future.done() and future.result() == 0.02 for future in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(tasks.square, 1)


def test_shutdown_cancels_what_waits_and_finishes_what_runs(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    executor = GuardedProcessExecutor(1)
    running = executor.submit(tasks.mark_and_sleep, str(mark), 0.3)
    waiting = [executor.submit(tasks.square, i) for i in range(3)]
    while not mark.exists():
        time.sleep(0.005)
    executor.shutdown(wait=True, cancel_futures=True)
    assert running.result(timeout=0) == "slept"
    assert all(future.cancelled() for future in waiting)
    assert len(concurrent.futures.wait([running, *waiting], timeout=1).done) == 4


def test_shutdown_with_kill_is_quick(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    executor = GuardedProcessExecutor(1)
    running = executor.submit(tasks.mark_and_sleep, str(mark), 60)
    waiting = executor.submit(tasks.square, 1)
    while not mark.exists():
        time.sleep(0.005)
    begin = time.monotonic()
    executor.shutdown(wait=True, cancel_futures=True, kill=True)
    assert time.monotonic() - begin < 1
    error = running.exception(timeout=0)
    assert isinstance(error, CandidateFailed)
    assert "mark_and_sleep was stopped because its executor was shut down" in str(error)
    assert waiting.cancelled()


def test_a_later_shutdown_may_ask_for_more() -> None:
    executor = GuardedProcessExecutor(1)
    running = executor.submit(tasks.sleep, 60)
    executor.shutdown(wait=False)
    executor.shutdown(wait=True, kill=True)
    assert running.done()


def test_an_exception_in_a_with_block_stops_running_tasks() -> None:
    futures = []

    def interrupted() -> None:
        with GuardedProcessExecutor(2) as executor:
            futures.append(executor.submit(tasks.sleep, 60))
            raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert futures[0].done()
    assert time.monotonic() - begin < 2


def test_shutdown_from_a_callback_does_not_lock_up() -> None:
    executor = GuardedProcessExecutor(1)
    shut = threading.Event()

    def finish(_: object) -> None:
        executor.shutdown(wait=True)
        shut.set()

    executor.submit(tasks.square, 1).add_done_callback(finish)
    assert shut.wait(10)


def test_a_future_keeps_its_forgotten_executor_alive_until_it_is_done() -> None:
    executor = GuardedProcessExecutor(1)
    forgotten = weakref.ref(executor)
    future = executor.submit(tasks.sleep, 0.3)
    del executor
    gc.collect()
    assert future.result(timeout=15) == 0.3
    end = time.monotonic() + 5
    while forgotten() is not None and time.monotonic() < end:
        gc.collect()
        time.sleep(0.02)
    assert forgotten() is None, "and then lets it go, with its processes"
    while any(thread.name.startswith("worker-slot") for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.02)

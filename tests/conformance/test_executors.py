"""What every executor of candidates must do, whichever way it runs them."""

from __future__ import annotations

import concurrent.futures
import functools
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import pytest

from autocompress.errors import (
    AutocompressError,
    CandidateFailed,
    DataError,
    MetricError,
    RecipeError,
    RuntimeFailure,
)
from autocompress.search.workers import GuardedProcessExecutor, InlineExecutor

sys.path.append(str(Path(__file__).parents[1] / "search"))
import worker_tasks as tasks

Maker = Callable[..., Executor]
MAKERS: dict[str, Maker] = {
    "inline": InlineExecutor,
    "one process": functools.partial(GuardedProcessExecutor, 1),
    "two processes": functools.partial(GuardedProcessExecutor, 2, task_timeout_s=20.0),
}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS.keys())
def make(request: pytest.FixtureRequest) -> Maker:
    tasks.STATE.clear()
    maker: Maker = request.param
    return maker


def error_of(make: Maker, fn: Callable[..., object], *args: object) -> BaseException:
    with make() as executor:
        error = executor.submit(fn, *args).exception(timeout=15)
        assert executor.submit(tasks.square, 3).result(timeout=15) == 9, "one failure must not end the executor"
    assert error is not None
    return error


def test_results(make: Maker) -> None:
    with make() as executor:
        futures = [executor.submit(tasks.square, i) for i in range(20)]
        assert [future.result(timeout=15) for future in futures] == [i * i for i in range(20)]
        assert executor.submit(tasks.keywords, 1, b=2).result(timeout=15) == (1, 2)
        assert executor.submit(functools.partial(tasks.keywords, b=5), 4).result(timeout=15) == (4, 5)
        assert list(executor.map(tasks.square, range(5))) == [0, 1, 4, 9, 16]
        assert executor.submit_with_timeout(10.0, tasks.square, 7).result(timeout=15) == 49


def test_wait_and_as_completed(make: Maker) -> None:
    with make() as executor:
        futures = [executor.submit(tasks.echo, i) for i in range(10)]
        assert {future.result() for future in concurrent.futures.as_completed(futures, timeout=15)} == set(range(10))
        assert not concurrent.futures.wait(futures, timeout=15).not_done


def test_callbacks(make: Maker) -> None:
    seen: list[float] = []
    with make() as executor:
        executor.submit(tasks.square, 3).add_done_callback(lambda future: seen.append(future.result()))
    assert seen == [9]


def test_initializer_comes_before_every_task_and_once(make: Maker) -> None:
    with make(initializer=tasks.remember, initargs=("the model",)) as executor:
        for _ in range(5):
            assert executor.submit(tasks.remembered).result(timeout=15) == ("the model", 1)


def test_deliberate_errors_keep_their_class_and_message(make: Maker) -> None:
    error = error_of(make, tasks.raise_metric_error)
    assert type(error) is MetricError
    assert str(error) == "the metric returned NaN for sample 3; return a finite number"


def test_unexpected_errors_fail_the_candidate_with_the_traceback_as_note(make: Maker) -> None:
    error = error_of(make, tasks.raise_value_error)
    assert type(error) is CandidateFailed
    assert str(error) == "raise_value_error failed with ValueError: first line second line"
    assert 'raise ValueError("first line' in "".join(error.__notes__)


def test_the_note_shows_the_task_and_not_the_machinery(make: Maker) -> None:
    notes = "".join(error_of(make, tasks.raise_recipe_error_from_key).__notes__)
    assert "KeyError: 'missing'" in notes
    assert notes.count("worker_tasks.py") == 2
    assert "search/workers/" not in notes


def test_recipe_error_stays_one(make: Maker) -> None:
    assert type(error_of(make, tasks.raise_recipe_error_from_key)) is RecipeError


@pytest.mark.parametrize(
    ("fn", "args", "message"),
    [
        (tasks.raise_memory_error, (), "raise_memory_error ran out of memory"),
        (tasks.sys_exit, (3,), "sys_exit failed with SystemExit: 3"),
        (tasks.raise_not_from_message, (), "raise_not_from_message failed with NotFromMessage: 1 2"),
    ],
)
def test_other_failures_name_task_and_cause(
    make: Maker, fn: Callable[..., object], args: tuple[object, ...], message: str
) -> None:
    error = error_of(make, fn, *args)
    assert type(error) is CandidateFailed
    assert message in str(error)


def test_deliberate_error_of_an_awkward_class_is_still_deliberate(make: Maker) -> None:
    error = error_of(make, tasks.raise_two_part)
    assert isinstance(error, AutocompressError)
    assert "conv1: bad scale" in str(error)


@pytest.mark.parametrize(
    ("initializer", "expected", "message"),
    [
        (tasks.no_such_data, DataError, "holds no array named 'input'"),
        (tasks.broken_initializer, RuntimeFailure, "broken_initializer failed with ValueError: weights are corrupt"),
    ],
)
def test_failing_initializer_fails_every_future_and_later_submits(
    make: Maker, initializer: Callable[..., object], expected: type[Exception], message: str
) -> None:
    errors = []
    with make(initializer=initializer) as executor:
        for _ in range(500):
            try:
                errors.append(executor.submit(tasks.square, 1).exception(timeout=15))
            except expected as error:
                errors.append(error)
                break
    assert all(type(error) is expected and message in str(error) for error in errors)
    assert len(errors) < 500, "in the end submit itself must say so"


def test_nothing_is_taken_after_shutdown(make: Maker) -> None:
    executor = make()
    executor.shutdown(wait=True, cancel_futures=True)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(tasks.square, 1)

"""Starting workers: what they inherit, the initializer, and what happens when it fails."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from autocompress.errors import CandidateFailed, ConfigError, DataError, RuntimeFailure
from autocompress.search.workers import GuardedProcessExecutor

sys.path.append(str(Path(__file__).parent))
import worker_tasks as tasks

HEAVY = {"numpy", "onnx", "onnxruntime", "optuna", "sklearn", "pandas", "scipy", "torch", "pydantic", "sqlalchemy"}


def test_environment_and_imports_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("OUR_OWN", "kept")
    with GuardedProcessExecutor(1, threads_per_worker=2) as executor:
        values = [executor.submit(tasks.environment, name) for name in ("OMP_NUM_THREADS", "OUR_OWN")]
        assert [value.result(timeout=15) for value in values] == ["2", "kept"]
        assert executor.submit(tasks.environment, "ORT_DISABLE_TELEMETRY").result(timeout=15) == "1"
        loaded = executor.submit(tasks.loaded_modules).result(timeout=15)
        assert not loaded & HEAVY
        assert not {"concurrent.futures", "tempfile", "cloudpickle", "pytest"} & loaded, "the child must stay small"


def test_each_worker_initializes_once_also_after_a_crash() -> None:
    with GuardedProcessExecutor(1, initializer=tasks.remember, initargs=("model",)) as executor:
        for _ in range(2):
            assert executor.submit(tasks.remembered).result(timeout=15) == ("model", 1)
        executor.submit(os.abort).exception(timeout=15)
        assert executor.submit(tasks.remembered).result(timeout=15) == ("model", 1)


def test_deliberate_error_of_the_initializer_fails_all_at_once() -> None:
    executor = GuardedProcessExecutor(2, initializer=tasks.no_such_data)
    future = executor.submit(tasks.square, 1)
    error = future.exception(timeout=15)
    assert isinstance(error, DataError)
    assert "holds no array named 'input'" in str(error)
    with pytest.raises(DataError):
        executor.submit(tasks.square, 1)
    executor.shutdown()


def test_unexpected_error_of_the_initializer_is_a_runtime_failure() -> None:
    with GuardedProcessExecutor(2, initializer=tasks.broken_initializer) as executor:
        try:
            error = executor.submit(tasks.square, 1).exception(timeout=15)
        except RuntimeFailure as raised:  # when it failed before the call was queued
            error = raised
    assert type(error) is RuntimeFailure
    assert "could not be started: broken_initializer failed with ValueError: weights are corrupt" in str(error)
    assert "in broken_initializer" in "".join(error.__notes__)


def test_crashing_initializer_is_tried_a_bounded_number_of_times(tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    with GuardedProcessExecutor(1, initializer=tasks.counting_crash, initargs=(str(tries),), start_attempts=2) as one:
        futures = [one.submit(tasks.square, i) for i in range(3)]
        errors = [future.exception(timeout=15) for future in futures]
        with pytest.raises(RuntimeFailure):
            one.submit(tasks.square, 1)
    assert tries.read_text() == "xx"
    assert {type(error) for error in errors} == {RuntimeFailure}
    assert "crashed with SIGABRT while running counting_crash" in str(errors[0])
    assert len({id(error) for error in errors}) == 3


def test_initializer_that_fails_once_is_forgiven(tmp_path: Path) -> None:
    with GuardedProcessExecutor(1, initializer=tasks.crash_once, initargs=(str(tmp_path / "mark"),)) as executor:
        assert executor.submit(tasks.square, 4).result(timeout=15) == 16


def test_replacement_that_cannot_start_fails_what_waits(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    with GuardedProcessExecutor(1, initializer=tasks.crash_after_first, initargs=(mark,), start_attempts=2) as executor:
        crashed = executor.submit(tasks.exit_at_once, 9)
        waiting = executor.submit(tasks.square, 2)
        assert isinstance(crashed.exception(timeout=15), CandidateFailed)
        assert isinstance(waiting.exception(timeout=15), RuntimeFailure)


def test_one_place_without_a_worker_leaves_the_other_at_work(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    # Both start at about the same time and only one of them finds no mark.
    with GuardedProcessExecutor(2, initializer=_only_one, initargs=(mark,), start_attempts=1) as executor:
        assert [executor.submit(tasks.square, i).result(timeout=15) for i in range(20)] == [i * i for i in range(20)]


def _only_one(mark: str) -> None:
    import os

    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))


def test_hanging_initializer_is_stopped() -> None:
    with GuardedProcessExecutor(
        1, initializer=tasks.sleep, initargs=(60,), start_timeout_s=0.5, start_attempts=1
    ) as executor:
        error = executor.submit(tasks.square, 1).exception(timeout=15)
    assert "could not be started: sleep ran longer than 0.5 s" in str(error)


def test_shutdown_does_not_wait_for_a_start_nobody_needs() -> None:
    begin = time.monotonic()
    with GuardedProcessExecutor(2, initializer=tasks.sleep, initargs=(60,)):
        pass
    assert time.monotonic() - begin < 2


def test_initargs_that_cannot_travel() -> None:
    with open(os.devnull) as file, pytest.raises(ConfigError, match="remember and its arguments cannot be sent"):
        GuardedProcessExecutor(1, initializer=tasks.remember, initargs=(file,))


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"workers": 1, "task_timeout_s": 0.0},
        {"workers": 1, "task_timeout_s": float("nan")},
        {"workers": 1, "memory_limit_bytes": -1},
        {"workers": 1, "threads_per_worker": 0},
        {"workers": 1, "start_attempts": 0},
    ],
)
def test_arguments_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{list(options)[-1]} is"):
        GuardedProcessExecutor(**options)  # type: ignore[arg-type]


def test_real_runtime_in_a_worker() -> None:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "x"], ["y"])],
        "square",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    with GuardedProcessExecutor(1, initializer=tasks.load_session, initargs=(model,)) as executor:
        x = np.array([3, -4], np.float32)
        np.testing.assert_array_equal(executor.submit(tasks.run_session, x).result(timeout=30), [9, 16])
        error = executor.submit(tasks.load_session, b"no model").exception(timeout=30)
    assert isinstance(error, CandidateFailed)
    assert "load_session failed with" in str(error)
    assert "INVALID_PROTOBUF" in str(error)

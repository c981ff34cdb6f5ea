"""The step's configuration, payload, time limit and progress."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autocompress.errors import RecipeError
from autocompress.passes.reconstruct import METHODS, LayerError, ReconstructConfig, ReconstructPayload
from autocompress.passes.reconstruct.watch import Watch

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study
from reconstruct_models import QUICK, W4A8, correlated, layer_study, quantize_payload, reconstruct


@pytest.mark.parametrize("method", METHODS)
def test_configurations_survive_json(method: str) -> None:
    config = ReconstructConfig(method=method, iterations=7, learning_rate=0.5, act_order=False)
    assert ReconstructConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"method": "magic"}, "method is 'magic'; it must be one of bias, adaround, gptq, block, distill"),
        ({"iterations": 0}, "iterations is 0; it must be at least 1"),
        ({"iterations": 2.0}, "iterations is 2.0; it must be a whole number"),
        ({"samples": True}, "samples is True"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"damping": 0}, "damping is 0.0; it must be above 0"),
        ({"drop_probability": 1.5}, "between 0 and 1"),
        ({"bias": 1}, "bias is 1; it must be a truth value"),
        ({"seed": -1}, "seed is -1"),
        ({"speed": 3}, "unknown field 'speed'"),
    ],
)
def test_bad_configurations_are_refused(row: dict[str, object], told: str) -> None:
    with pytest.raises(RecipeError) as refused:
        ReconstructConfig.from_dict(row)
    assert told in str(refused.value)


def test_a_whole_number_is_a_number() -> None:
    assert ReconstructConfig(learning_rate=1).to_dict() == ReconstructConfig(learning_rate=1.0).to_dict()
    assert type(ReconstructConfig(learning_rate=1).learning_rate) is float


def test_payloads_survive_an_npz_file(tmp_path: Path) -> None:
    payload = ReconstructPayload(
        {"a/w:1": np.arange(6, dtype=np.int8).reshape(2, 3), "b": np.ones(3, np.uint8)},
        {"a": np.array([1.5, -2.0], np.float32)},
        {"a": LayerError(0.2, 0.1)},
    )
    np.savez(tmp_path / "recipe.npz", **payload.to_arrays())
    with np.load(tmp_path / "recipe.npz", allow_pickle=False) as stored:
        found = ReconstructPayload.from_arrays(dict(stored))
    assert list(found.integers) == ["a/w:1", "b"] and list(found.biases) == ["a"]
    for name, values in payload.integers.items():
        np.testing.assert_array_equal(found.integers[name], values)
        assert found.integers[name].dtype == values.dtype
    np.testing.assert_array_equal(found.biases["a"], payload.biases["a"])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("integers:w", np.ones(2, np.float32)),
        ("bias:w", np.ones(2, np.float64)),
        ("bias:w", np.ones((2, 2), np.float32)),
        ("w", np.ones(2, np.int8)),
    ],
)
def test_foreign_arrays_are_refused(name: str, values: np.ndarray) -> None:
    with pytest.raises(RecipeError, match="no rounded weight or bias"):
        ReconstructPayload.from_arrays({name: values})


def test_integers_and_biases_go_into_the_quantization_step() -> None:
    study = layer_study("gemm")
    given = quantize_payload(study, W4A8)
    found = reconstruct(study)
    applied = found.applied_to(given)
    assert applied.ranges == given.ranges
    assert applied.integers is not given.integers and not given.integers
    np.testing.assert_array_equal(applied.biases["Gemm_0"], found.biases["Gemm_0"])


class Clock:
    """A clock that stands still between readings that are set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_is_shared_by_work() -> None:
    clock = Clock()
    watch = Watch(None, 60.0, clock)
    watch.begin("layers", 3, 10.0)
    assert watch.share(5.0) == pytest.approx(30.0)
    clock.now += 12.0  # faster than allowed
    watch.layer_done("a", LayerError(1.0, 0.5), 5.0)
    assert watch.share(1.0) == pytest.approx(48.0 / 5)
    clock.now += 100.0
    assert watch.share(1.0) == 0.0


def test_without_a_limit_there_is_time_for_all() -> None:
    watch = Watch()
    watch.begin("layers", 2, 2.0)
    assert watch.share(1.0) == float("inf")


class Recorder:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.steps = 0
        self.details: list[str] = []

    def stage(self, name: str, total: int | None = None, limit_s: float | None = None) -> None:
        self.stages.append((name, total))

    def advance(self, n: int = 1) -> None:
        self.steps += n

    def detail(self, text: str) -> None:
        self.details.append(text)

    def best(self, text: str) -> None:
        raise AssertionError(text)

    def notice(self, text: str) -> None:
        raise AssertionError(text)


def two_layers() -> Study:
    graph = FloatGraph(seed=2)
    graph.output(graph.conv(graph.op("Relu", graph.conv(graph.input("x", 4, 5, 5), 4, 4)), 4, 4))
    return Study(graph.model(), {"x": correlated(np.random.default_rng(0), 16, 4, 5, 5)})


def test_progress_counts_layers() -> None:
    watched = Recorder()
    reconstruct(two_layers(), progress=watched)
    assert watched.stages == [("reconstruct layers", 2)]
    assert watched.steps == 2
    assert all("% of the error" in text and "left" in text for text in watched.details)


def test_progress_counts_blocks() -> None:
    watched = Recorder()
    reconstruct(two_layers(), config=replace(QUICK, method="block", iterations=20), progress=watched)
    assert watched.stages == [("reconstruct blocks", 1)]
    assert watched.steps == 1


@pytest.mark.parametrize("method", METHODS)
def test_no_time_leaves_everything_as_it_was(method: str) -> None:
    study = two_layers()
    found = reconstruct(study, config=replace(QUICK, method=method), deadline_s=0.0)
    assert not found.integers and not found.biases and not found.errors


def test_little_time_still_gives_a_result() -> None:
    """A thousand times the steps that there is time for: the schedule shrinks, and nothing is worse than before."""
    found = reconstruct(two_layers(), config=replace(QUICK, iterations=10**6), deadline_s=0.3)
    assert found.errors
    assert all(error.reconstructed <= error.nearest for error in found.errors.values())

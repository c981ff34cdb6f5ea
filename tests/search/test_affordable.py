"""What a search can afford: samples, rounds and shares of the time, above all where the model is slow."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autocompress.search import tasks
from autocompress.search.affordable import affordable_samples, affordable_trials, early_share, exploring_until
from autocompress.search.stopwatch import STAGES
from autocompress.search.workbench import Workbench

CHOICES = (32, 16, 8, 4, 2)


def state(
    *,
    timeout_s: float | None = 200.0,
    run_s: float = 0.001,
    deterministic: bool = False,
    early_s: float = 0.0,
    reconstruction: tuple[str, ...] = ("none", "adaround"),
    structural: bool = False,
    stems: int = 1,
    drops: tuple[float, ...] = (0.001,),
) -> Any:
    seconds = dict.fromkeys(STAGES, 0.0) | {"baseline": early_s / 2, "calibrate": early_s / 4, "profile": early_s / 4}
    return SimpleNamespace(
        settings=SimpleNamespace(
            timeout_s=timeout_s,
            deterministic=deterministic,
            space=SimpleNamespace(reconstruction=reconstruction, structural=structural),
        ),
        baseline=SimpleNamespace(run_s=run_s),
        stopwatch=SimpleNamespace(seconds=seconds | {"search": 1000.0}),
        stems=dict.fromkeys(range(stems)),
        limits=SimpleNamespace(accuracy_drop=0.01),
        own_trials=[SimpleNamespace(evaluated=SimpleNamespace(drop=SimpleNamespace(drop=drop))) for drop in drops],
    )


@pytest.mark.parametrize(("run_s", "samples"), [(0.001, 32), (0.05, 8), (0.25, 2), (60.0, 2)])
def test_slow_models_are_judged_by_fewer_samples(run_s: float, samples: int) -> None:
    assert affordable_samples(state(run_s=run_s), 38, CHOICES) == samples


def test_where_no_clock_may_steer_the_number_is_fixed() -> None:
    assert affordable_samples(state(run_s=60.0, deterministic=True), 38, CHOICES) == 16
    assert affordable_samples(state(run_s=60.0, timeout_s=None), 38, CHOICES) == 16


def test_half_of_what_measuring_left_is_searched_in() -> None:
    assert early_share(state(early_s=20.0)) == pytest.approx(0.1)
    assert exploring_until(state()) == 0.5
    assert exploring_until(state(early_s=20.0)) == pytest.approx(0.55)
    assert exploring_until(state(early_s=100.0)) == pytest.approx(0.75)
    # Verification keeps its part whatever was before.
    assert exploring_until(state(early_s=180.0)) == exploring_until(state(early_s=999.0)) == 0.8
    assert exploring_until(state(timeout_s=None, early_s=100.0)) == 0.5


def test_without_reconstruction_exploration_goes_on_until_verification() -> None:
    assert exploring_until(state(reconstruction=("none",))) == 0.8
    assert exploring_until(state(structural=True)) < exploring_until(state(structural=True, stems=2)) < 0.8


def test_before_smaller_models_the_original_has_longer_while_nothing_keeps_the_accuracy_limit() -> None:
    assert exploring_until(state(structural=True)) == pytest.approx(0.3)
    assert exploring_until(state(structural=True, early_s=100.0)) == pytest.approx(0.65)
    for drops in ((), (0.2, 0.3)):
        assert exploring_until(state(structural=True, drops=drops)) == pytest.approx(0.55)
        assert exploring_until(state(structural=True, drops=drops, early_s=150.0)) == pytest.approx(0.75)


def evaluated(seconds: float) -> Any:
    return SimpleNamespace(evaluated=SimpleNamespace(build_s=0.2 * seconds, evaluate_s=0.8 * seconds))


@pytest.mark.parametrize(("cost_s", "elapsed_s", "count"), [(10.0, 50.0, 5), (10.0, 95.0, 2), (0.125, 50.0, 400)])
def test_no_more_seeds_than_there_is_time_for(cost_s: float, elapsed_s: float, count: int) -> None:
    slow = state()
    slow.settings.workers, slow.stopwatch.elapsed_s = 1, elapsed_s
    slow.ledger = SimpleNamespace(complete=[evaluated(cost_s), evaluated(cost_s / 2)])
    assert affordable_trials(slow) == count
    slow.settings.deterministic = True
    assert affordable_trials(slow) is None
    slow.settings.deterministic, slow.ledger.complete = False, []
    assert affordable_trials(slow) is None


class Slow:
    """A session whose runs take some time."""

    clock = "wall"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def time_runs(self, feeds: object, runs: int = 1) -> float:
        time.sleep(self.seconds * runs)
        return self.seconds


def test_a_slow_candidate_is_timed_in_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = SimpleNamespace(baseline_session=Slow(0.02), timing_feeds={}, spec=SimpleNamespace(seed=0))
    monkeypatch.setattr(tasks, "_bench", bench)
    begin = time.perf_counter()
    found = tasks._timed(Slow(0.005), 0.01, tasks._TRIAL_ROUNDS)
    assert time.perf_counter() - begin < 20 * 0.025  # as many rounds as a fast model gets would take longer
    assert found.speedup == pytest.approx(4.0, rel=0.2)
    assert 5 <= found.rounds <= tasks._TRIAL_ROUNDS


def test_the_metric_is_settled_without_running_the_original_again() -> None:
    outputs = {"y": np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)}

    class Recorded:
        def outputs(self, indices: Any) -> dict[str, np.ndarray]:
            return {name: values[indices] for name, values in outputs.items()}

    class Source:
        has_labels = True

        def __len__(self) -> int:
            return 40

        def labels(self, indices: Any) -> np.ndarray:
            return np.arange(40)[indices] % 3

    spec: Any = SimpleNamespace(metric=None, split=SimpleNamespace(search=np.arange(40)))
    bench = Workbench(spec)
    bench.__dict__.update(reference=Recorded(), source=Source())  # nothing that could run is there
    assert bench.metric.name == "top1"

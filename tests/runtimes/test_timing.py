"""Timing against sessions whose true times are known."""

from __future__ import annotations

import numpy as np
import pytest

from autocompress.runtimes.protocol import Feeds, InputSpec, Session
from autocompress.runtimes.timing import measure_interleaved, median_interval, quiet_half, time_session


class Scripted:
    """A session that takes ``true_s`` on a machine whose mood ``slowdown`` may spoil; no time really passes."""

    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[InputSpec, ...] = ()

    def __init__(self, true_s: float, machine: Machine, clock: str = "cpu") -> None:
        self.clock = clock
        self._true_s = true_s
        self._machine = machine
        self.runs = 0

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        return {}

    def time_runs(self, feeds: Feeds, runs: int = 1) -> float:
        self.runs += runs
        return self._true_s * self._machine.slowdown()


class Machine:
    """Noise of 1 %, and stretches in which everything takes twice as long."""

    def __init__(self, seed: int, busy: float) -> None:
        self._rng = np.random.default_rng(seed)
        self._busy = busy
        self._step = 0

    def slowdown(self) -> float:
        self._step += 1
        stretch = (self._step // 40) % 10 < 10 * self._busy
        return float((2.0 if stretch else 1.0) * (1 + abs(self._rng.normal(0, 0.01))))


def scripted(true_s: float, machine: Machine) -> Session:
    return Scripted(true_s, machine)


@pytest.mark.parametrize("busy", [0.0, 0.4])
def test_a_session_is_timed_past_a_busy_machine(busy: float) -> None:
    latency = time_session(scripted(0.003, Machine(0, busy)), {}, budget_s=0.0, min_repeats=400)
    assert latency.latency_ms == pytest.approx(3.0, rel=0.02)
    assert latency.minimum_ms == pytest.approx(3.0, rel=0.005)
    assert latency.spread_ms < 0.03
    assert latency.clock == "cpu"


@pytest.mark.parametrize("busy", [0.0, 0.4])
def test_a_speedup_is_found_past_a_busy_machine(busy: float) -> None:
    machine = Machine(1, busy)
    a, b = scripted(0.004, machine), scripted(0.002, machine)
    measured = measure_interleaved(a, b, {}, budget_s=0.0, min_rounds=400, seed=5)
    assert measured.speedup == pytest.approx(2.0, rel=0.01)
    assert measured.speedup_ci95.low < 2.0 < measured.speedup_ci95.high
    assert measured.a.latency_ms == pytest.approx(4.0, rel=0.02)
    assert measured.b.latency_ms == pytest.approx(2.0, rel=0.02)
    assert 200 <= measured.rounds <= 400


def test_intervals_of_equal_models_hold_one() -> None:
    hits = 0
    for seed in range(60):
        machine = Machine(seed, 0.3)
        measured = measure_interleaved(scripted(0.003, machine), scripted(0.003, machine), {}, budget_s=0.0, seed=seed)
        hits += measured.speedup_ci95.low <= 1.0 <= measured.speedup_ci95.high
    assert hits >= 57


def test_a_difference_of_three_percent_is_seen() -> None:
    machine = Machine(3, 0.2)
    a, b = scripted(0.00309, machine), scripted(0.003, machine)
    measured = measure_interleaved(a, b, {}, budget_s=0.0, min_rounds=300)
    assert measured.speedup_ci95.low > 1.0


def test_short_models_run_several_times_per_sample() -> None:
    short = Scripted(10e-6, Machine(0, 0.0))
    latency = time_session(short, {}, budget_s=0.0, min_repeats=10)
    assert latency.repeats >= 10 * 20
    assert short.runs >= latency.repeats


def test_the_order_is_drawn_by_seed_and_so_is_the_interval() -> None:
    def once(seed: int) -> tuple[float, float, float]:
        machine = Machine(9, 0.1)
        measured = measure_interleaved(scripted(0.003, machine), scripted(0.003, machine), {}, budget_s=0.0, seed=seed)
        return measured.speedup, measured.speedup_ci95.low, measured.speedup_ci95.high

    assert once(1) == once(1)
    assert once(1) != once(2)


def test_the_budget_is_kept() -> None:
    import time

    start = time.perf_counter()

    class Slow(Scripted):
        def time_runs(self, feeds: Feeds, runs: int = 1) -> float:
            time.sleep(0.005)
            return 0.005

    time_session(Slow(0.005, Machine(0, 0.0)), {}, budget_s=0.3, min_repeats=5)
    assert 0.3 <= time.perf_counter() - start < 1.0


def test_the_quiet_half_is_the_faster_one_in_its_order() -> None:
    slowdown = np.asarray([1.0, 3.0, 1.2, 2.0, 1.1, 4.0, 1.3, 5.0, 1.4, 6.0])
    assert quiet_half(slowdown, [False] * 10, "cpu").tolist() == [0, 2, 4, 6, 8]
    assert quiet_half(slowdown, [False] * 10, "replay").tolist() == list(range(10))


def test_under_the_wall_clock_interrupted_samples_are_left_out_while_others_are_left() -> None:
    slowdown = np.ones(20)
    interrupted = [i < 10 for i in range(20)]
    assert set(quiet_half(slowdown, interrupted, "wall").tolist()) <= set(range(10, 20))
    assert len(quiet_half(slowdown, [True] * 20, "wall")) == 10


def test_the_bootstrap_interval_covers_a_median() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        interval = median_interval(rng.normal(1.0, 0.1, 200), rng)
        hits += interval.low <= 1.0 <= interval.high
    assert 88 <= hits <= 100

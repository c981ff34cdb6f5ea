"""Budgets: limits from targets and the baseline."""

from __future__ import annotations

from typing import Any

import pytest

from autocompress.search.budget import Budget, make_budget

TARGETS = {"target_speedup": None, "target_latency_ms": None, "target_size_factor": None, "target_size_bytes": None}


def budget(**targets: Any) -> Budget:
    return make_budget(
        baseline_latency_ms=10.0, baseline_size_bytes=1000, max_accuracy_drop=0.01, **{**TARGETS, **targets}
    )


def test_without_targets_only_accuracy_counts() -> None:
    plain = budget()
    assert plain == Budget(accuracy_drop=0.01, latency_ms=None, size_bytes=None, speedup=None)
    assert not plain.has_target
    assert plain.met_by(drop=0.01, speedup=0.5, size_bytes=1e9)
    assert not plain.met_by(drop=0.0101, speedup=9.0, size_bytes=1)
    assert plain.constraints(drop=0.03, latency_ms=5.0, size_bytes=10) == pytest.approx({"accuracy_drop": 0.02})


@pytest.mark.parametrize(
    ("targets", "latency_ms", "speedup"),
    [
        ({"target_speedup": 2.0}, 5.0, 2.0),
        ({"target_latency_ms": 4.0}, 4.0, 2.5),
        ({"target_speedup": 2.0, "target_latency_ms": 4.0}, 4.0, 2.5),
        ({"target_speedup": 4.0, "target_latency_ms": 4.0}, 2.5, 4.0),
    ],
)
def test_the_stricter_latency_target_holds(targets: dict[str, float], latency_ms: float, speedup: float) -> None:
    made = budget(**targets)
    assert made.latency_ms == pytest.approx(latency_ms)
    assert made.speedup == pytest.approx(speedup)
    assert made.has_target
    assert made.met_by(drop=0.0, speedup=speedup * 1.001, size_bytes=1e9)
    assert not made.met_by(drop=0.0, speedup=speedup * 0.999, size_bytes=1)
    assert made.constraints(drop=0.0, latency_ms=latency_ms + 1, size_bytes=1)["latency_ms"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("targets", "size_bytes"),
    [
        ({"target_size_factor": 4.0}, 250.0),
        ({"target_size_bytes": 300.0}, 300.0),
        ({"target_size_factor": 4.0, "target_size_bytes": 300.0}, 250.0),
    ],
)
def test_the_stricter_size_target_holds(targets: dict[str, float], size_bytes: float) -> None:
    made = budget(**targets)
    assert (made.size_bytes, made.latency_ms, made.speedup) == (size_bytes, None, None)
    assert made.has_target
    assert made.met_by(drop=0.0, speedup=0.1, size_bytes=size_bytes)
    assert not made.met_by(drop=0.0, speedup=9.0, size_bytes=size_bytes + 1)
    assert made.constraints(drop=0.0, latency_ms=1.0, size_bytes=size_bytes - 50)["size_bytes"] == -50.0


@pytest.mark.parametrize("speedup", [2.0, 2.5, 3.0, 1.7, 7.3])
def test_exactly_the_target_keeps_it(speedup: float) -> None:
    made = budget(target_speedup=speedup)
    assert made.met_by(drop=0.0, speedup=speedup, size_bytes=1)

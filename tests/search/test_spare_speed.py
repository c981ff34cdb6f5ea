"""When a milder stem is worth making, on trials that say how fast the first one came out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autocompress.recipe.recipe import Recipe
from autocompress.search.budget import Budget
from autocompress.search.stems.spare_speed import is_too_fast, milder_share

BASELINE_MS = 10.0


def state_with(latencies_ms: list[float], *, evaluate_s: float = 1.0, timeout_s: float | None = 600.0) -> Any:
    trials = [
        SimpleNamespace(
            recipe=Recipe(), latency_ms=ms, evaluated=SimpleNamespace(build_s=0.1, evaluate_s=evaluate_s, size_bytes=1)
        )
        for ms in latencies_ms
    ]
    return SimpleNamespace(
        limits=Budget(latency_ms=BASELINE_MS / 4, speedup=4.0, accuracy_drop=0.1, size_bytes=None),
        baseline_ms=BASELINE_MS,
        latency_ms=lambda trial: trial.latency_ms,
        ledger=SimpleNamespace(complete=trials),
        settings=SimpleNamespace(deterministic=False, timeout_s=timeout_s),
    )


def test_what_is_faster_than_asked_leads_to_a_milder_stem_of_just_the_time_that_is_allowed() -> None:
    state = state_with([2.2, 2.0, 3.0])  # 2.5 ms are allowed
    assert is_too_fast(state, Recipe())
    assert milder_share(state, Recipe(), 0.6) == pytest.approx(0.6 * 2.5 / 2.0 * 0.985)


@pytest.mark.parametrize("latencies_ms", [[2.45], [2.6, 2.7], []])
def test_what_is_as_fast_as_asked_or_slower_leads_to_none(latencies_ms: list[float]) -> None:
    state = state_with(latencies_ms)
    assert not is_too_fast(state, Recipe()) and milder_share(state, Recipe(), 0.6) is None


def test_a_share_of_the_whole_time_is_no_smaller_model() -> None:
    assert milder_share(state_with([2.0]), Recipe(), 0.9) is None


def test_a_slow_model_gets_no_second_stem() -> None:
    assert not is_too_fast(state_with([2.0], evaluate_s=10.0), Recipe())
    assert is_too_fast(state_with([2.0], evaluate_s=10.0, timeout_s=None), Recipe())

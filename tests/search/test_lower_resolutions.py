"""Which sizes of the image are proposed, and when smaller layers are no longer needed."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from autocompress.errors import CandidateFailed
from autocompress.passes.downsample import DownsampleConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.budget import Budget
from autocompress.search.space import NONE
from autocompress.search.state import SearchState
from autocompress.search.stems import downsampling, resolutions, tasks
from autocompress.search.stems.downsampling import propose_resolutions
from autocompress.search.stems.resolutions import Resolution, survey_resolutions
from autocompress.search.stems.tasks import ImageSizes, Look

FULL_MS = 4.0


def size(pixels: int) -> DownsampleConfig:
    return DownsampleConfig(pixels, pixels)


def resolution(pixels: int, share: float, damage: float) -> Resolution:
    return Resolution(size(pixels), share, damage)


class Search:
    """As much of a search's state as choosing sizes needs; operators are prices here."""

    def __init__(self, latency_ms: float | None = None, size_bytes: float | None = None) -> None:
        self.limits = Budget(accuracy_drop=0.01, latency_ms=latency_ms, size_bytes=size_bytes, speedup=None)
        self.settings = SimpleNamespace(
            space=SimpleNamespace(downsampling=(NONE, "linear")), workers=0, deterministic=False, timeout_s=None
        )
        self.interrupted = False
        self.ledger = SimpleNamespace(complete=[])
        self.baseline_ms = 10.0
        self.notices: list[str] = []
        self.notice = self.notices.append
        self.stopwatch = SimpleNamespace(stage=lambda _: SimpleNamespace(__enter__=None, __exit__=None))
        self.progress = SimpleNamespace(stage=lambda *_, **__: None, advance=lambda: None)
        self.estimator = SimpleNamespace(estimate=lambda ops: SimpleNamespace(latency_ms=ops[0]))
        self.executor = self
        self.looks: dict[Recipe, Look | CandidateFailed] = {}
        self.sizes: ImageSizes | str = ""

    def latency_ms(self, trial: Any) -> float:
        return float(trial.latency_ms)

    def measured(self, pixels: int, latency_ms: float, drop: float = 0.0) -> None:
        evaluated = SimpleNamespace(drop=SimpleNamespace(drop=drop))
        recipe = Recipe(downsample=size(pixels))
        trial = SimpleNamespace(recipe=recipe, latency_ms=latency_ms, evaluated=evaluated, verification=None)
        self.ledger.complete.append(trial)

    def submit(self, task: Any, *given: Any) -> Future[Any]:
        answer: Future[Any] = Future()
        if task is tasks.image_sizes:
            answer.set_result(self.sizes)
            return answer
        seen = self.looks[given[0]]
        if isinstance(seen, CandidateFailed):
            answer.set_exception(seen)
        else:
            answer.set_result(seen)
        return answer


@pytest.fixture(autouse=True)
def reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downsampling, "reference_ms", lambda _: FULL_MS)
    monkeypatch.setattr(resolutions, "reference_config", lambda _: None)
    monkeypatch.setattr(resolutions, "damage_samples", lambda *_: 4)


def surveyed(search: Search) -> list[Resolution]:
    from contextlib import nullcontext

    search.stopwatch.stage = lambda _: nullcontext()
    return survey_resolutions(cast(SearchState, search))


def proposed(search: Search, *resolutions: Resolution) -> list[int]:
    recipes = propose_resolutions(cast(SearchState, search), resolutions)
    return [recipe.downsample.height for recipe in recipes if recipe.downsample is not None]


def look(latency_ms: float, damage: float) -> Look:
    return Look((cast(Any, latency_ms),), damage)


def test_sizes_that_are_neither_faster_nor_nearer_are_left_out() -> None:
    search = Search(latency_ms=2.0)
    search.sizes = ImageSizes((32, 32), [size(p) for p in (30, 28, 26, 24, 22, 20)])
    search.looks = {Recipe(): look(4.0, 0.0)}
    rows = {30: (3.6, 0.3), 28: (3.2, 0.2), 26: (2.8, float("inf")), 24: (2.4, 0.4), 20: (2.38, 0.5)}
    search.looks |= {Recipe(downsample=size(p)): look(*row) for p, row in rows.items()}
    search.looks[Recipe(downsample=size(22))] = CandidateFailed("no")
    found = surveyed(search)
    assert [(r.config.height, r.share, r.damage) for r in found] == [(28, 0.8, 0.2), (24, 0.6, 0.4)]


def test_changed_proportions_count_more_than_their_error() -> None:
    search = Search(latency_ms=2.0)
    search.sizes = ImageSizes((32, 32), [DownsampleConfig(24, 24), DownsampleConfig(18, 32), DownsampleConfig(28, 30)])
    search.looks = {Recipe(): look(4.0, 0.0)}
    rows = zip(search.sizes.smaller, ((2.4, 0.3), (2.3, 0.25), (3.2, 0.2)), strict=True)
    search.looks |= {Recipe(downsample=config): look(*row) for config, row in rows}
    assert [r.config.height for r in surveyed(search)] == [28, 24, 18]
    assert surveyed(search)[2].damage == pytest.approx(0.25 * (1 + 4 * np.log(32 / 18) ** 2))


def test_sizes_are_looked_at_as_long_as_there_is_time() -> None:
    search = Search(latency_ms=2.0)
    search.settings.timeout_s = 1e-9
    search.sizes = ImageSizes((32, 32), [size(28), size(24)])
    search.looks = {Recipe(): look(4.0, 0.0), Recipe(downsample=size(28)): look(3.2, 0.2)}
    assert [r.config for r in surveyed(search)] == [size(28)]


def test_why_there_is_no_smaller_image_is_said() -> None:
    search = Search(latency_ms=2.0)
    search.sizes = "no convolution reads an image"
    assert surveyed(search) == []
    assert search.notices == ["the image was not made smaller inside the network: no convolution reads an image"]


def test_nothing_is_looked_at_for_a_size_or_where_the_space_has_none() -> None:
    for search in (Search(size_bytes=100.0), Search(latency_ms=2.0)):
        search.sizes = "not to be asked"
        if search.limits.size_bytes is None:
            search.settings.space.downsampling = (NONE,)
        assert surveyed(search) == [] and search.notices == []


SIZES = (resolution(30, 0.88, 0.05), resolution(28, 0.76, 0.1), resolution(26, 0.66, 0.2), resolution(24, 0.5, 0.4))


def asked_for(search: Search, *measured: tuple[float, float]) -> list[int]:
    """The sizes that are proposed where each is measured as (share of the time, drop) before the next is asked for."""
    found = []
    for recipe, (share, drop) in zip(propose_resolutions(cast(SearchState, search), SIZES), measured, strict=False):
        assert recipe.downsample is not None
        found.append(recipe.downsample.height)
        search.measured(found[-1], share * FULL_MS, drop)
    return found


WITHIN, BEYOND = 0.005, 0.05
MANY = [(0.5, BEYOND)] * 9


def test_the_least_damaging_size_that_should_do_comes_first() -> None:
    assert asked_for(Search(latency_ms=0.7 * FULL_MS), (0.69, WITHIN), *MANY) == [26]


def test_what_was_measured_leads_to_a_milder_size() -> None:
    measured = [(0.58, WITHIN), (0.69, WITHIN)]  # the first is 12 % faster than priced
    assert asked_for(Search(latency_ms=0.7 * FULL_MS), *measured, *MANY) == [26, 28]


def test_what_was_measured_leads_to_a_stronger_size() -> None:
    assert asked_for(Search(latency_ms=0.7 * FULL_MS), (0.73, WITHIN), (0.56, WITHIN), *MANY) == [26, 24]


def test_a_verification_that_misses_the_target_by_little_leads_to_a_stronger_size() -> None:
    search = Search(latency_ms=0.7 * FULL_MS)
    recipes = propose_resolutions(cast(SearchState, search), SIZES)
    assert next(recipes).downsample == size(26)
    search.measured(26, 0.69 * FULL_MS, WITHIN)
    measured = SimpleNamespace(speedup=SimpleNamespace(speedup=search.baseline_ms / (0.71 * FULL_MS)))
    search.ledger.complete[-1].verification = measured
    assert next(recipes).downsample == size(24)


def test_where_the_size_loses_too_much_the_fastest_that_does_not_is_sought() -> None:
    limit = 0.52 * FULL_MS
    assert asked_for(Search(latency_ms=limit), (0.5, BEYOND), (0.76, WITHIN), (0.66, BEYOND), *MANY) == [24, 28, 26]
    assert asked_for(Search(latency_ms=limit), (0.5, BEYOND), (0.76, BEYOND), (0.88, WITHIN), *MANY) == [24, 28, 30]


def test_where_no_size_is_fast_enough_the_fastest_within_the_accuracy_limit_is_sought() -> None:
    found = asked_for(Search(latency_ms=0.3 * FULL_MS), (0.76, WITHIN), (0.66, WITHIN), (0.5, WITHIN), *MANY)
    assert found == [28, 26, 24]


def test_without_a_target_a_mild_and_a_strong_size_are_proposed() -> None:
    assert proposed(Search(), *SIZES) == [26, 24]
    assert proposed(Search(), *SIZES[:2]) == []
    assert proposed(Search(), replace(SIZES[3], damage=0.01), *SIZES[:3]) == [24]


def test_without_sizes_nothing_is_proposed() -> None:
    assert proposed(Search(latency_ms=1.0)) == []

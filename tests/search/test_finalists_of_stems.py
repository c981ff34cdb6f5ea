"""Which candidates are verified in the end: not all of one smaller model, and the original's where all others fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from autocompress.passes.prune import PruneConfig
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search import verify as verification
from autocompress.search.budget import Budget
from autocompress.search.state import SearchState
from autocompress.search.trials import COMPLETE

LIMIT = 0.01
ORIGINAL = Recipe()
MILD, STRONG = (Recipe(prune=PruneConfig((("group", ratio),))) for ratio in (0.25, 0.5))


class Verified:
    """A search whose trials are (stem, speedup, drop on new samples), best by the search part first."""

    def __init__(self, *trials: tuple[Recipe, float, float], target: float = 3.0) -> None:
        self.seen: list[int] = []
        self.verified: list[Any] = []
        self.trials = [self._trial(number, *row) for number, row in enumerate(trials)]
        self.limits = self.budget = Budget(accuracy_drop=LIMIT, latency_ms=10 / target, size_bytes=None, speedup=target)
        self.settings = SimpleNamespace(deterministic=False)
        self.stopwatch = SimpleNamespace(left_s=1.0, elapsed_s=5.0)
        self.interrupted = self.out_of_reach = False
        self.stems: dict[str, object] = {}
        self.first_stem, self.stop_reason = self.stem_of(ORIGINAL), "it ended"
        self.first_met_s: float | None = None

    def stem_of(self, recipe: Recipe) -> object:
        return self.stems.setdefault(recipe.float_part.hash, object())

    def _trial(self, number: int, stem: Recipe, speedup: float, drop: float) -> Any:
        answer = SimpleNamespace(
            drop=SimpleNamespace(drop=drop), gain=speedup, gain_low=speedup, size_bytes=10, speedup=SimpleNamespace()
        )
        recipe = Recipe(QuantizeConfig(precision="int8", block_size=32)).on(stem)
        return SimpleNamespace(number=number, recipe=recipe, state=COMPLETE, verification=None, answer=answer)


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(state: Any, trial: Any) -> bool:
        if trial.verification is None:
            state.seen.append(trial.number)
            trial.verification = trial.answer
            state.verified.append(trial)
        return False

    monkeypatch.setattr(verification, "verify", verify)
    monkeypatch.setattr(verification, "ranked", lambda state: state.trials)
    monkeypatch.setattr(verification, "loses_nothing", lambda *_: False)
    monkeypatch.setattr(verification, "keeps_target", lambda state, trial: trial.answer.gain >= state.budget.speedup)


def concluded(search: Verified) -> tuple[list[int], int | None, bool]:
    outcome = verification.conclude(cast(SearchState, search))
    return search.seen, None if outcome.best is None else outcome.best.number, outcome.target_met


def test_where_several_of_a_smaller_model_lose_too_much_others_come_first() -> None:
    search = Verified(*[(STRONG, 3.2, 0.05)] * 4, (MILD, 3.1, 0.002))
    assert concluded(search) == ([0, 1, 4], 4, True)


def test_what_misses_by_speed_does_not_hold_up_others_of_its_kind() -> None:
    search = Verified((MILD, 2.99, 0.002), (MILD, 2.98, 0.002), (MILD, 3.1, 0.002), (STRONG, 4.0, 0.05))
    assert concluded(search) == ([0, 1, 2], 2, True)


def test_where_all_smaller_models_lose_too_much_the_original_quantized_is_what_holds() -> None:
    smaller = [(stem, 3.2, 0.05) for stem in (STRONG, MILD) for _ in range(4)]
    search = Verified(*smaller, (ORIGINAL, 2.2, 0.03), (ORIGINAL, 2.1, 0.001), (ORIGINAL, 1.9, 0.0))
    seen, best, met = concluded(search)
    assert seen[:6] == [0, 1, 4, 5, 8, 9] and (best, met) == (9, False)
    many = [(Recipe(prune=PruneConfig((("group", i / 20),))), 3.2, 0.05) for i in range(1, 9)]
    search = Verified(*many, (ORIGINAL, 2.2, 0.03), (ORIGINAL, 2.1, 0.001))
    assert concluded(search) == ([0, 1, 2, 3, 4, 5, 8, 9], 9, False)


def test_without_any_that_holds_nothing_is_emitted() -> None:
    search = Verified(*[(ORIGINAL, 2.2, 0.03)] * 8)
    seen, best, met = concluded(search)
    assert (len(seen), best, met) == (6, None, False)

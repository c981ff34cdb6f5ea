"""How much of the time trainings get."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from autocompress.passes.prune import PruneConfig
from autocompress.passes.recover import RecoverConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.reserve import searching_until
from autocompress.search.settings import SearchSettings
from autocompress.search.space import parse_space
from autocompress.search.stems import training
from autocompress.search.stems.training import plan_training, trained_forms
from autocompress.search.training_time import worth_training_s

STEM = Recipe(prune=PruneConfig((("a", 0.5),)), recover=RecoverConfig("closed_form"))


class Stopwatch:
    elapsed_s = 100.0
    seconds = {"verify": 0.0}  # noqa: RUF012


class State:
    """What planning reads of a search, and the durations that workers would measure."""

    def __init__(self, *, bfloat16_s: float = 40.0, float32_s: float = 60.0, **settings: Any) -> None:
        space = parse_space("small", {"recovery": settings.pop("space", {})})
        self.settings = SearchSettings(space, 0.01, **{"timeout_s": 480.0, "recovery": "light", **settings})
        self.stopwatch = Stopwatch()
        self.baseline = SimpleNamespace(verification=SimpleNamespace(n=600), search=SimpleNamespace(n=400))
        self.ledger = SimpleNamespace(complete=[SimpleNamespace(evaluated=SimpleNamespace(evaluate_s=2.0))])
        self.verified: list[Any] = []
        self.notices: list[str] = []
        self.executor = SimpleNamespace(submit=self._submit)
        self._durations = {True: bfloat16_s, False: float32_s}

    def _submit(self, task: Any, form: Recipe, hurried: bool) -> Any:
        assert task is training.tasks.expected_recovery_s
        return SimpleNamespace(result=lambda: self._durations[form.recover.bfloat16])

    def notice(self, text: str) -> None:
        self.notices.append(text)


@pytest.fixture(autouse=True)
def _processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "identify_device", lambda: SimpleNamespace(isa=("avx512_bf16",)))


@pytest.mark.parametrize(
    ("left_s", "expected_s", "given_s"), [(100, 50, 100), (100, 999, 100), (100, 1001, 0), (4, 10, 0), (5, 10, 5)]
)
def test_a_training_is_left_out_where_it_does_not_pay(left_s: float, expected_s: float, given_s: float) -> None:
    assert worth_training_s(left_s, expected_s) == given_s


def test_the_search_ends_where_verification_has_to_begin() -> None:
    state = State()
    # Three finalists at 600 / 400 of what evaluating took, and 6 s of timing each; 2 % to spare.
    assert searching_until(state) == pytest.approx(1 - 0.02 - 3 * (2.0 * 1.5 + 6.0) / 480)
    state.verified, state.stopwatch.seconds = [object()] * 2, {"verify": 40.0}
    assert searching_until(state) == pytest.approx(1 - 0.02 - 3 * 20.0 / 480)
    state.stopwatch.seconds = {"verify": 400.0}
    assert searching_until(state) == 0.78
    state.stopwatch.seconds = {"verify": 0.2}
    assert searching_until(state) == 0.93
    state.ledger.complete = []
    assert searching_until(state) == 0.78


def test_a_training_has_all_the_time_that_its_steps_can_use() -> None:
    state = State(bfloat16_s=200.0, float32_s=1e9)
    until_s = searching_until(state) * 480.0
    recipe, given_s = plan_training(state, trained_forms(state, STEM), 1)
    assert recipe.recover.total_steps == 4 * RecoverConfig("light").total_steps
    assert given_s == pytest.approx(until_s - 100.0 - 0.05 * 480.0)
    assert "takes about 50 s" in state.notices[0] and f"{given_s:.0f} s" in state.notices[0]
    # Where two cannot both have their usual steps, the first has more than half of the time.
    long = State(bfloat16_s=4 * 250.0, float32_s=1e9)
    _, given_s = plan_training(long, trained_forms(long, STEM), 2)
    assert given_s == pytest.approx(until_s - 100.0 - 2 * 0.05 * 480.0)


def test_a_training_that_takes_a_moment_is_worth_it() -> None:
    state = State(bfloat16_s=0.5, float32_s=1e9)
    assert plan_training(state, trained_forms(state, STEM), 1)[1] > 5.0


def test_too_little_time_is_no_time() -> None:
    state = State(bfloat16_s=4 * 1e5, float32_s=1e9)
    assert plan_training(state, trained_forms(state, STEM), 1)[1] == 0.0 and not state.notices


@pytest.mark.parametrize(("float32_s", "bfloat16"), [(60.0, True), (39.0, True), (30.0, False)])
def test_float32_is_taken_where_it_is_clearly_faster(float32_s: float, bfloat16: bool) -> None:
    state = State(float32_s=float32_s)
    recipe, _ = plan_training(state, trained_forms(state, STEM), 1)
    assert recipe.recover.bfloat16 == bfloat16


def test_other_processors_and_users_have_one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(trained_forms(State(), STEM)) == 2
    assert len(trained_forms(State(space={"bfloat16": True}), STEM)) == 1
    monkeypatch.setattr(training, "identify_device", lambda: SimpleNamespace(isa=("avx2",)))
    assert len(trained_forms(State(), STEM)) == 1


def test_without_a_clock_nothing_depends_on_the_machine() -> None:
    for settings in ({"deterministic": True}, {"timeout_s": None}):
        state = State(**settings)
        (form,) = trained_forms(state, STEM)
        assert form.recover.total_steps == RecoverConfig("light").total_steps
        recipe, given_s = plan_training(state, [form], 1)
        assert given_s is None and recipe == form
    (form,) = trained_forms(State(deterministic=True), STEM)
    assert not form.recover.bfloat16


def test_a_space_says_how_stems_are_trained() -> None:
    chosen = {"label_weight": 0.5, "group_lasso": 1e-5, "l1": 1e-6, "target_loss": 0.1, "steps": 50}
    (form, *_) = trained_forms(State(space=chosen, recovery="full"), STEM)
    assert form.recover == RecoverConfig("full", **chosen)
    assert form == replace(STEM, recover=form.recover)

"""Which smaller model zeros are put into."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from autocompress.passes.prune import PruneConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.budget import Budget
from autocompress.search.space import NONE
from autocompress.search.state import SearchState
from autocompress.search.stems import in_turn

ORIGINAL, MILD, STRONG = (
    Recipe(),
    Recipe(prune=PruneConfig((("group", 0.25),))),
    Recipe(prune=PruneConfig((("group", 0.5),))),
)


def base_of_zeros(
    monkeypatch: pytest.MonkeyPatch, limits: Budget, trials: list[tuple[Recipe, float, float, int]]
) -> Recipe:
    """What is handed to the sparse stems, where trials are (stem, drop, latency in ms, bytes)."""
    stems = {recipe.hash: SimpleNamespace(recipe=recipe) for recipe in (ORIGINAL, MILD, STRONG)}
    complete = [
        SimpleNamespace(
            recipe=recipe, latency_ms=ms, evaluated=SimpleNamespace(drop=SimpleNamespace(drop=drop), size_bytes=size)
        )
        for recipe, drop, ms, size in trials
    ]
    state = SimpleNamespace(
        settings=SimpleNamespace(
            space=SimpleNamespace(downsampling=(NONE,), decomposition=(NONE,), pruning=(NONE,), sparsity=("wanda",))
        ),
        limits=limits,
        ledger=SimpleNamespace(complete=complete),
        latency_ms=lambda trial: trial.latency_ms,
        stem_of=lambda recipe: stems[recipe.hash],
    )
    monkeypatch.setattr(in_turn, "propose_sparse_stems", lambda _, base: iter([base]))
    opened: Any = [stems[MILD.hash], stems[STRONG.hash]]
    (given,) = in_turn.propose_in_turn(cast(SearchState, state), opened)
    return given


def of_size() -> Budget:
    return Budget(accuracy_drop=0.01, latency_ms=None, size_bytes=50.0, speedup=None)


def test_for_a_size_zeros_go_into_the_smallest_model_within_the_accuracy_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [(ORIGINAL, 0.0, 5.0, 100), (MILD, 0.005, 4.0, 80), (STRONG, 0.02, 3.0, 60)]
    assert base_of_zeros(monkeypatch, of_size(), trials) == MILD


def test_for_a_size_the_original_is_taken_where_smaller_layers_bring_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [(ORIGINAL, 0.0, 5.0, 70), (MILD, 0.005, 4.0, 80), (STRONG, 0.02, 3.0, 60)]
    assert base_of_zeros(monkeypatch, of_size(), trials) == ORIGINAL
    assert base_of_zeros(monkeypatch, of_size(), trials[2:]) == ORIGINAL


def test_for_a_speed_zeros_go_into_the_mildest_model_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Budget(accuracy_drop=0.01, latency_ms=3.5, size_bytes=None, speedup=2.0)
    trials = [(ORIGINAL, 0.0, 5.0, 100), (MILD, 0.005, 4.0, 80), (STRONG, 0.02, 3.0, 60)]
    assert base_of_zeros(monkeypatch, limits, trials) == STRONG
    assert base_of_zeros(monkeypatch, limits, [(MILD, 0.005, 3.4, 80), *trials]) == MILD

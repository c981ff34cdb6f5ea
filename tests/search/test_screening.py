"""Coordinate descent over schemes, against searches of all combinations."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autocompress.passes.quantize import FP16_WEIGHTS, FP32, INT4_WEIGHT_ONLY, INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search import schemes
from autocompress.search.equalizations import EQUALIZATION, config_of, name_of
from autocompress.search.features import scheme_value
from autocompress.search.regions import Region
from autocompress.search.screening import (
    Screened,
    axes_of,
    descend,
    first_scheme,
    gains,
    kernel_choices,
    most_measurements,
    with_value,
)
from autocompress.search.space import load_space, parse_space

sys.path.append(str(Path(__file__).parent))
from small_problems import region, space, unit

FULL = load_space("ptq_full", Path(__file__).parents[2] / "search_spaces")
KERNEL = kernel_choices(FULL, {"int8", "uint8"})[0]
EQUALIZATIONS = ("none", "cross_layer", "smooth")


class Damage:
    """A damage to which every choice adds its own part, and counts how often it is asked."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._parts: dict[tuple[str, object], float] = {}
        self.asked: list[Recipe] = []

    def of(self, recipe: Recipe) -> float:
        axes = axes_of(FULL, EQUALIZATIONS, INT8)
        for name, values in axes.items():
            for value in values:
                self._parts.setdefault((name, value), float(10 ** self._rng.uniform(-3, -1)))
        return sum(self._parts[name, scheme_value(recipe, name)] for name in axes)

    def __call__(self, recipes: Sequence[Recipe]) -> list[float]:
        self.asked += recipes
        return [self.of(recipe) for recipe in recipes]


@pytest.mark.parametrize("seed", range(6))
def test_additive_damage_is_brought_to_its_least(seed: int) -> None:
    damage = Damage(seed)
    axes = axes_of(FULL, EQUALIZATIONS, INT8)
    found = descend(first_scheme(FULL, KERNEL, INT8), axes, damage)
    everything = []
    for values in itertools.product(*axes.values()):
        recipe = found[0].recipe
        for name, value in zip(axes, values, strict=True):
            recipe = with_value(recipe, name, value)
        everything.append(damage.of(recipe))
    # What gains less than three in a hundred is not followed.
    assert found[0].damage <= min(everything) * 1.03 ** len(axes)
    assert len(damage.asked) == len({recipe.hash for recipe in damage.asked}) == len(found)
    assert len(found) <= most_measurements(axes) < len(everything) / 5
    assert [s.damage for s in found] == sorted(s.damage for s in found)


def test_what_cannot_be_built_is_left_alone() -> None:
    def measure(recipes: Sequence[Recipe]) -> list[float]:
        return [float("inf") if r.equalize is not None else 1.0 for r in recipes]

    found = descend(first_scheme(FULL, KERNEL, INT8), {EQUALIZATION: EQUALIZATIONS}, measure)
    assert found[0].recipe.equalize is None
    assert sorted(s.damage for s in found) == [1.0, float("inf"), float("inf")]


def test_each_precision_has_its_own_choices() -> None:
    assert set(axes_of(FULL, EQUALIZATIONS, INT8_DYNAMIC)) == {"weight_range", EQUALIZATION}
    assert "activation_range" in axes_of(FULL, EQUALIZATIONS, INT8)
    assert "block_size" in axes_of(FULL, EQUALIZATIONS, INT4_WEIGHT_ONLY)
    assert axes_of(FULL, EQUALIZATIONS, FP16_WEIGHTS) == {}
    assert EQUALIZATION not in axes_of(FULL, ("none",), INT8)


def test_integers_that_the_runtime_lacks_are_no_choice() -> None:
    both = kernel_choices(FULL, {"int8", "uint8"})
    signed = kernel_choices(FULL, {"int8"})
    assert len(both) == 2 * len(signed)
    assert {kernel["weight_dtype"] for kernel in signed} == {"int8"}


@pytest.mark.parametrize("name", EQUALIZATIONS)
def test_equalizations_are_called_by_name(name: str) -> None:
    recipe = with_value(first_scheme(FULL, KERNEL, INT8), EQUALIZATION, name)
    assert recipe.equalize == config_of(name)
    assert name_of(recipe.equalize) == scheme_value(recipe, EQUALIZATION) == name


def test_an_equalization_has_to_gain_something() -> None:
    plain = first_scheme(FULL, KERNEL, INT8)
    smooth = with_value(plain, EQUALIZATION, "smooth")
    assert gains([Screened(smooth, 0.5), Screened(plain, 1.0)])
    assert not gains([Screened(smooth, 0.99), Screened(plain, 1.0)])
    assert not gains([Screened(plain, 0.9), Screened(smooth, 1.0)])


def test_leaving_steps_out_is_always_possible() -> None:
    space = parse_space("mine", {"steps": {"equalization": ["smooth"], "reconstruction": "gptq"}})
    assert space.equalization == ("none", "smooth")
    assert space.reconstruction == ("none", "gptq")


@pytest.mark.parametrize(("joined", "where"), [(1.5, FP32), (0.2, INT8)])
def test_choices_are_compared_where_int8_does_not_destroy_the_model(joined: float, where: str) -> None:
    regions = (region("a"), Region((unit("b", "Add", weight=False),)), region("c", "MatMul"))
    state: Any = SimpleNamespace(settings=SimpleNamespace(space=space()), regions=regions)

    def measure(recipes: Sequence[Recipe]) -> list[float]:
        return [
            (joined if r.quantize.precision_of("b") == INT8 else 0.05) * (0.1 if _float(r) else 1.0)  # type: ignore[union-attr]
            for r in recipes
        ]

    def _float(recipe: Recipe) -> bool:
        assert recipe.quantize is not None
        return recipe.quantize.product_results == "float" and joined < 1

    axes = {"product_results": ("int8", "float")}
    start, known = schemes._start(state, Recipe(QuantizeConfig()), axes, measure)
    assert start.quantize is not None
    assert [start.quantize.precision_of(name) for name in ("a", "b", "c")] == [INT8, where, INT8]
    assert len({screened.recipe.hash for screened in known}) == 4
    assert start in [screened.recipe for screened in known]
    # Dynamic ranges know no such choice, nor does a model that has weights everywhere.
    dynamic = Recipe(QuantizeConfig(precision=INT8_DYNAMIC))
    assert schemes._start(state, dynamic, axes, measure) == (dynamic, [])
    state.regions = (regions[0], regions[2])
    assert schemes._start(state, start, axes, measure) == (start, [])


def test_the_clock_ends_a_descent_with_what_is_known() -> None:
    damage = Damage(0)
    axes = axes_of(FULL, EQUALIZATIONS, INT8)
    start = first_scheme(FULL, KERNEL, INT8)
    known = [Screened(start, damage.of(start))]
    assert descend(start, axes, damage, known=known, out_of_time=lambda: True) == known
    assert damage.asked == []
    left = itertools.chain([False], itertools.repeat(True))
    few = descend(start, axes, damage, known=known, out_of_time=lambda: next(left))
    assert len(few) == len(axes["product_results"])

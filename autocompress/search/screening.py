"""Screening: whole-model candidates of schemes are compared by output damage before any is evaluated.

The scheme's choices are improved one after the other (coordinate descent), the cheap ones first, because all
combinations would be far too many: the damage is nearly a sum of what each choice contributes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from autocompress.passes.quantize import FP16_WEIGHTS, INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.equalizations import EQUALIZATION, config_of
from autocompress.search.space import SearchSpace
from autocompress.search.surcharge import FORM

_AXES = {
    # What is int8 at all comes first: the damage of a model that it destroys ranks nothing else.
    INT8: (
        *FORM,
        "activation_range",
        "weight_range",
        "bias_correction",
        "float_ends",
        EQUALIZATION,
    ),
    INT8_DYNAMIC: ("weight_range", EQUALIZATION),
    FP16_WEIGHTS: (),
}
_WEIGHT_ONLY_AXES = ("weight_range", "weight_only_symmetric", "block_size", "weight_only_activations", EQUALIZATION)
KERNEL_FIELDS = ("activation_dtype", "activation_symmetric", "weight_dtype", "weight_granularity")
_SWEEPS = 2
# Less than this is no gain: the damage of few samples is not more exact.
_GAIN = 0.03

Axes = Mapping[str, Sequence[object]]
Measure = Callable[[Sequence[Recipe]], Sequence[float]]
"""Damages of recipes, inf for those that cannot be built."""


@dataclass(frozen=True)
class Screened:
    """One scheme applied to the whole model.

    Attributes:
        recipe: the scheme, with one precision for all.
        damage: its label-free output damage.
    """

    recipe: Recipe
    damage: float

    @property
    def config(self) -> QuantizeConfig:
        """Its quantization."""
        assert self.recipe.quantize is not None
        return self.recipe.quantize


def axes_of(space: SearchSpace, equalizations: Sequence[str], precision: str) -> dict[str, Sequence[object]]:
    """The choices that screening improves for candidates of one precision, in its order, the cheap ones first.

    Args:
        space: the search space.
        equalizations: names of those that do something to this model.
        precision: of all units that can have it.
    """
    values: dict[str, Sequence[object]] = {**space.scheme, EQUALIZATION: equalizations}
    names = _AXES.get(precision, _WEIGHT_ONLY_AXES)
    return {name: values[name] for name in names if len(values[name]) > 1}


def first_scheme(space: SearchSpace, kernel: Mapping[str, object], precision: str) -> Recipe:
    """The scheme that screening begins with: the first value of every choice."""
    firsts = {name: values[0] for name, values in space.scheme.items() if name not in KERNEL_FIELDS}
    return Recipe(QuantizeConfig(precision=precision, **kernel, **firsts))  # type: ignore[arg-type]


def with_value(recipe: Recipe, name: str, value: object) -> Recipe:
    """A recipe with one choice changed."""
    if name == EQUALIZATION:
        return replace(recipe, equalize=config_of(str(value)))
    assert recipe.quantize is not None
    return replace(recipe, quantize=replace(recipe.quantize, **{name: value}))  # type: ignore[arg-type]


def descend(
    start: Recipe,
    axes: Axes,
    measure: Measure,
    *,
    known: Collection[Screened] = (),
    out_of_time: Callable[[], bool] = lambda: False,
) -> list[Screened]:
    """Improves one choice after the other until nothing gains.

    Args:
        start: where to begin.
        axes: choice -> its values, in the order in which they are improved.
        measure: of several recipes at once.
        known: what was measured before.
        out_of_time: when it says so, the choices that are left keep the values they have.

    Returns:
        Everything that was measured, best first; ties keep the order of measurement.
    """
    measured = {screened.recipe.hash: screened for screened in known}

    def look(recipes: Sequence[Recipe]) -> None:
        fresh = [recipe for recipe in dict.fromkeys(recipes) if recipe.hash not in measured]
        for recipe, damage in zip(fresh, measure(fresh) if fresh else (), strict=True):
            measured[recipe.hash] = Screened(recipe, damage)

    look([start])
    best = measured[start.hash]
    for _ in range(_SWEEPS):
        before = best
        for name, values in axes.items():
            if out_of_time():
                break
            options = [with_value(best.recipe, name, value) for value in values]
            look(options)
            least = min((measured[option.hash] for option in options), key=lambda screened: screened.damage)
            if least.damage < best.damage * (1 - _GAIN):
                best = least
        if best is before:
            break
    return best_first(measured.values())


def most_measurements(axes: Axes) -> int:
    """How many measurements ``descend`` makes at most."""
    return 1 + _SWEEPS * sum(len(values) - 1 for values in axes.values())


def kernel_choices(space: SearchSpace, weight_dtypes: Collection[str]) -> list[dict[str, object]]:
    """Every combination of the choices that select integer kernels (and so decide speed) that a runtime has."""
    return list(_kernels(space, weight_dtypes))


def _kernels(space: SearchSpace, weight_dtypes: Collection[str]) -> Iterator[dict[str, object]]:
    for combination in itertools.product(*(space.scheme[name] for name in KERNEL_FIELDS)):
        kernel = dict(zip(KERNEL_FIELDS, combination, strict=True))
        if kernel["weight_dtype"] in weight_dtypes:
            yield kernel


def best_first(screened: Collection[Screened]) -> list[Screened]:
    """The least damaging schemes first; ties keep their order."""
    return sorted(screened, key=lambda s: s.damage)


def gains(screened: Sequence[Screened]) -> bool:
    """Whether the best of all schemes is clearly better than the best without equalization."""
    plain = min((s.damage for s in screened if s.recipe.equalize is None), default=float("inf"))
    return min(s.damage for s in screened) < plain * (1 - _GAIN)

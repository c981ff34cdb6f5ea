"""The stages that choose schemes: what equalizations do, screening, and refinement once sensitivities are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from autocompress.errors import CandidateFailed, NothingToCompress
from autocompress.passes.equalize.step import CROSS_LAYER, SMOOTH
from autocompress.passes.quantize import FP32, INT8, QuantizeConfig
from autocompress.passes.quantize.quantizer import CORRECTED
from autocompress.recipe.recipe import Recipe
from autocompress.search import tasks
from autocompress.search.affordable import affordable_samples
from autocompress.search.equalizations import EQUALIZATION, NONE, config_of
from autocompress.search.features import scheme_key, scheme_value
from autocompress.search.prices import OPTIONS
from autocompress.search.probes import with_options
from autocompress.search.screening import (
    KERNEL_FIELDS,
    Axes,
    Measure,
    Screened,
    axes_of,
    best_first,
    descend,
    first_scheme,
    gains,
    kernel_choices,
    most_measurements,
    with_value,
)
from autocompress.search.seeding import middle_rung
from autocompress.search.state import SearchState
from autocompress.search.surcharge import CONCERNS, FORM, Choice, Surcharge, spread_over

_SAMPLES = (32, 16, 8, 4, 2)
_EQUALIZE_SHARE, _SCREEN_SHARE, _REFINE_SHARE = 0.1, 0.12, 0.1
# A damage above this is a model that does not work any more.
_DESTROYED = 0.3
# What does so many times the least damage on a few samples is measured no further.
_HOPELESS = 3.0
_STARTS = 4


def equalize(state: SearchState) -> None:
    """Equalizes the model in every way of the space, and prices what that adds."""
    wanted = sorted((name for name in state.settings.space.equalization if name != NONE), key=_suits(state))
    if not wanted:
        return
    state.progress.stage("equalize", total=len(wanted))
    state.equalize_from_s = state.stopwatch.elapsed_s
    with state.stopwatch.stage("calibrate"):
        seen, found = set[str](), []
        for name in wanted:
            if not _affordable(state):
                state.notice(f"equalization {name!r} was left out: too little time; give a longer --timeout to try it")
                continue
            try:
                result = state.executor.submit(tasks.equalize, Recipe(equalize=config_of(name))).result()
                if result.contents and result.contents not in seen:
                    seen.add(result.contents)
                    if result.inserted:
                        _price(state, name)
                    found.append(name)
            except CandidateFailed as error:
                state.notice(f"equalization {name!r} was left out: {error}")
            state.progress.advance()
    state.equalizations = (NONE, *found)


def _suits(state: SearchState) -> Callable[[str], bool]:
    """Sorts equalizations that the model's kind of layers has little use for last: time may not do for all."""
    layers = [unit.op_type for unit in state.units if unit.weight is not None and not unit.is_table]
    products = sum(op_type in ("MatMul", "Gemm") for op_type in layers)
    kind = SMOOTH if 2 * products > len(layers) else CROSS_LAYER
    return lambda name: getattr(config_of(name), "kind", kind) != kind


def _affordable(state: SearchState) -> bool:
    """Whether one more pass over the calibration part stays within the part of the time that equalizations may use."""
    if state.settings.deterministic or state.settings.timeout_s is None:
        return True
    spent_s = state.stopwatch.elapsed_s - state.equalize_from_s
    return spent_s + state.calibration_s <= _EQUALIZE_SHARE * state.settings.timeout_s


def price_choices(state: SearchState) -> None:
    """Prices the choices of the scheme that change kernels, each on a candidate where it acts everywhere."""
    assert state.prices is not None
    with state.stopwatch.stage("profile"):
        for name, precisions in CONCERNS.items():
            first, *others = state.settings.space.scheme[name]
            concerned = [precision for precision in _precisions(state) if precision in precisions]
            for value in others if concerned else ():
                plain = Recipe(QuantizeConfig(precision=concerned[0]))
                us = _difference_us(state, with_value(plain, name, first), with_value(plain, name, value))
                region_us = spread_over(state.regions, name, state.prices.region_us, us)
                _surcharge(state, (name, value), Surcharge(0.0, region_us))


def _price(state: SearchState, name: str) -> None:
    """What the operators that an equalization inserts cost, seen in the float model."""
    us = _difference_us(state, Recipe(), Recipe(equalize=config_of(name)))
    _surcharge(state, (EQUALIZATION, name), Surcharge(max(us, 0.0)))


def _surcharge(state: SearchState, choice: Choice, surcharge: Surcharge) -> None:
    assert state.prices is not None
    state.prices = replace(state.prices, surcharges={**state.prices.surcharges, choice: surcharge})


def _difference_us(state: SearchState, plain: Recipe, changed: Recipe) -> float:
    assert state.estimator is not None
    before, after = (
        state.estimator.estimate(state.executor.submit(tasks.probe, recipe).result().ops) for recipe in (plain, changed)
    )
    return (after.latency_ms - before.latency_ms) * 1e3


def screen(state: SearchState) -> None:
    """Compares whole-model candidates of the schemes still in play by their output damage."""
    space = state.settings.space
    kernels = [
        kernel
        for kernel in kernel_choices(space, state.builder.rules.weight_dtypes)
        if all(kernel[f] in state.in_play.get(f, (kernel[f],)) for f in KERNEL_FIELDS)
    ]
    searches = [(p, k) for p in _precisions(state) for k in kernels]
    axes = {p: _axes(state, p) for p, _ in searches}
    count = sum(most_measurements(axes[p]) + (_STARTS if p == INT8 else 0) for p, _ in searches)
    state.progress.stage("screen schemes", total=count)
    samples = affordable_samples(state, count, _SAMPLES)
    best: dict[str, Recipe] = {}
    measure, out_of_time = _measure(state, samples), _limit(state, _SCREEN_SHARE)
    with state.stopwatch.stage("search"):
        for precision, kernel in searches:
            start = first_scheme(space, kernel, precision)
            if precision in best:  # what was best under other kernels of the same precision
                assert best[precision].quantize is not None
                start = replace(best[precision], quantize=replace(best[precision].quantize, **kernel))  # type: ignore[type-var]
            start, known = _start(state, start, axes[precision], measure)
            found = descend(start, axes[precision], measure, known=known, out_of_time=out_of_time)
            best.setdefault(precision, found[0].recipe)
            state.screened += [screened for screened in found if np.isfinite(screened.damage)]
    if not state.screened:
        raise NothingToCompress("no quantized form of the search space runs on this model; it is left unchanged")
    state.screened = best_first(state.screened)
    static = _static(state.screened)
    keep_in_play(state, static)
    state.scheme = _whole(next(s.recipe for s in static if s.recipe.equalize is None or gains(static)))


def refine(state: SearchState) -> bool:
    """Chooses the scheme anew on a candidate as the search will build them, with a precision for each region.

    Whole-model damage of a model that int8 destroys says little about one whose worst regions stay in float.

    Returns:
        Whether the equalization is another one than sensitivities were measured with.
    """
    space = state.settings.space
    rung = middle_rung(state) if space.per == "unit" and INT8 in space.precision else None
    if rung is None or not any(OPTIONS[option] == INT8 for option in rung.options):
        return False
    assert state.scheme is not None and state.scheme.quantize is not None and state.scorer is not None
    mixed = with_options(state.scheme.quantize, state.regions, [OPTIONS[option] for option in rung.options])
    axes = _axes(state, INT8)
    count = most_measurements(axes)
    state.progress.stage("refine the scheme", total=count)
    before = state.scheme
    samples = affordable_samples(state, count, _SAMPLES)
    with state.stopwatch.stage("search"):
        start = replace(state.scheme, quantize=mixed)
        out_of_time = _limit(state, _REFINE_SHARE)
        found = descend(start, axes, _measure(state, samples), out_of_time=out_of_time)
    known = [screened for screened in found if np.isfinite(screened.damage)]
    if not known:
        return False
    reference = next((s.damage for s in known if scheme_key(s.recipe) == scheme_key(before)), known[0].damage)
    for screened in known:
        state.scorer.known.set_relative_damage(screened.recipe, screened.damage / max(reference, 1e-12))
    state.refined = known
    whole = [Screened(_whole(screened.recipe), screened.damage) for screened in known]
    keep_in_play(state, whole)
    state.scheme = next(s.recipe for s in whole if s.recipe.equalize is None or gains(whole))
    return state.scheme.equalize != before.equalize


def keep_in_play(state: SearchState, screened: Sequence[Screened]) -> None:
    """Narrows each choice to the values that the best schemes use; an equalization has to gain something."""
    kept = screened[: state.settings.space.screen]
    for name in state.settings.space.scheme:
        state.in_play[name] = tuple(dict.fromkeys(getattr(s.config, name) for s in kept))
    names = {config_of(name): name for name in state.equalizations}
    used = [names[s.recipe.equalize] for s in kept if s.recipe.equalize in names]
    state.in_play[EQUALIZATION] = tuple(dict.fromkeys([*used, NONE])) if gains(screened) else (NONE,)


def _precisions(state: SearchState) -> list[str]:
    """Precisions of the space that some unit can have, static int8 first."""
    possible = {option for unit in state.units for option in unit.all_options} - {FP32}
    return sorted(possible & set(state.settings.space.precision), key=OPTIONS.index)


def _static(screened: Sequence[Screened]) -> list[Screened]:
    """Those with static ranges, or all where there are none."""
    return [s for s in screened if s.config.precision == INT8] or list(screened)


def _whole(recipe: Recipe) -> Recipe:
    assert recipe.quantize is not None
    return replace(recipe, quantize=replace(recipe.quantize, exceptions=()))


def _axes(state: SearchState, precision: str) -> dict[str, Sequence[object]]:
    """The choices to improve, without those that change nothing in this model."""
    axes = axes_of(state.settings.space, state.equalizations, precision)
    forms = state.prices.forms if state.prices is not None else {}
    idle = {name for name in FORM if all(dict(choices)[name] == getattr(QuantizeConfig(), name) for choices in forms)}
    if not any(unit.op_type in CORRECTED for unit in state.units):
        idle.add("bias_correction")
    return {name: values for name, values in axes.items() if name not in idle}


def _start(state: SearchState, start: Recipe, axes: Axes, measure: Measure) -> tuple[Recipe, list[Screened]]:
    """Where to begin, and what was measured for that.

    Static int8 everywhere destroys some models that lose nothing where only operators with weights are int8; choices
    are compared on the latter then.
    """
    weighted = _weighted(state, start)
    if weighted is None or weighted == start:
        return start, []
    values = axes.get(FORM[0], (scheme_value(start, FORM[0]),))
    both = [[with_value(recipe, FORM[0], value) for value in values] for recipe in (start, weighted)]
    damages = measure([*both[0], *both[1]])
    known = [Screened(recipe, damage) for recipe, damage in zip([*both[0], *both[1]], damages, strict=True)]
    everywhere, few = (min(part, key=lambda s: s.damage) for part in (known[: len(values)], known[len(values) :]))
    destroyed = everywhere.damage > _DESTROYED and few.damage < everywhere.damage / 2
    return (few if destroyed else everywhere).recipe, known


def _weighted(state: SearchState, start: Recipe) -> Recipe | None:
    """The same in int8 only in the regions with weights; None where the space has no such choice, or it is none."""
    assert start.quantize is not None
    light = [region for region in state.regions if region.main.weight is None]
    if state.settings.space.per != "unit" or start.quantize.precision != INT8 or len(light) in (0, len(state.regions)):
        return None
    if FP32 not in state.settings.space.precision:
        return None
    options = [INT8 if INT8 in r.options and r.main.weight is not None else FP32 for r in state.regions]
    return replace(start, quantize=with_options(start.quantize, state.regions, options))


def _measure(state: SearchState, samples: int) -> Measure:
    """Damages on so many samples, or on a few of them where those already say enough."""
    least = float("inf")

    def measure(recipes: Sequence[Recipe]) -> list[float]:
        nonlocal least
        found = _damages(state, recipes, samples, _HOPELESS * least)
        least = min([least, *found])
        return found

    return measure


def _limit(state: SearchState, share: float) -> Callable[[], bool]:
    """Says when a share of the whole time was used from now on; never where no clock may steer."""
    timeout_s = state.settings.timeout_s
    if state.settings.deterministic or timeout_s is None:
        return lambda: False
    until_s = state.stopwatch.elapsed_s + share * timeout_s
    return lambda: state.stopwatch.elapsed_s > until_s


def _damages(state: SearchState, recipes: Sequence[Recipe], samples: int, hopeless: float) -> list[float]:
    futures = [state.executor.submit(tasks.damages, [recipe], samples, hopeless) for recipe in recipes]
    found = []
    for recipe, future in zip(recipes, futures, strict=True):
        try:
            found.append(float(future.result()[0].damage))
            state.screened_count += 1
        except CandidateFailed as error:
            state.notice(f"scheme {_described(recipe.quantize)} was left out: {error}")
            found.append(float("inf"))
        state.progress.advance()
    return found


def _described(config: QuantizeConfig | None) -> str:
    parts = {} if config is None else config.to_dict()
    return ", ".join(f"{name} {value}" for name, value in parts.items() if name != "exceptions")

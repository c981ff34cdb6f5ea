"""Measures sensitivity curves: every group of channels by width, or every layer by rank, on the staircase."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from autocompress.errors import CandidateFailed
from autocompress.passes.quantize import FP32, QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.state import SearchState
from autocompress.search.stems import curve_tasks, tasks
from autocompress.search.stems.curve_tasks import Effect, Judge, SampleCounts
from autocompress.search.stems.curves import Curve, CurvePoint, kept_of, ordered
from autocompress.search.stems.options import Option
from autocompress.search.stems.survey import priced_ms, spread, worthwhile_options

_FLOAT = QuantizeConfig(precision=FP32)
_MOST_NAMED = 3


def begin(state: SearchState) -> Judge:
    """Records what the original gives, and opens the estimator.

    Raises:
        UserError: when model, data or metric do not fit together.
    """
    state.progress.stage("run the original")
    judge = state.executor.submit(curve_tasks.begin).result()
    for text in judge.notices:
        state.notice(text)
    if state.estimator is None:
        state.estimator = state.open_estimator()
    return judge


def width_curves(state: SearchState, criteria: Sequence[str], most: int, counts: SampleCounts) -> list[Curve]:
    """One curve for each group of channels and criterion.

    Args:
        state: after ``begin``.
        criteria: by which channels go.
        most: points of a curve at most.
        counts: of samples.
    """
    usable = [name for name in criteria if _judges(state, name)]
    listed = _listed(state, (), most) if usable else []
    state.progress.stage("measure what narrower layers lose", total=len(listed))
    return [curve for options in listed for curve in _width_curves(state, options, usable, counts)]


def rank_curves(state: SearchState, methods: Sequence[str], most: int, counts: SampleCounts) -> list[Curve]:
    """One curve for each layer and method of decomposition, with the energy that its ranks keep.

    Args:
        state: after ``begin``.
        methods: of decomposition.
        most: points of a curve at most.
        counts: of samples.
    """
    listed = _listed(state, methods, most)
    layers = [list(group) for _, group in groupby(listed, key=lambda options: options[0].place.name)]
    state.progress.stage("measure what lower ranks lose", total=len(layers))
    return [curve for layer in layers for curve in _rank_curves(state, layer, counts)]


def _judges(state: SearchState, criterion: str) -> bool:
    """Whether a criterion can judge this model; if not, that is said."""
    try:
        state.executor.submit(curve_tasks.try_criterion, criterion).result()
    except CandidateFailed as error:
        state.notice(f"the criterion {criterion} was left out: {error}")
        return False
    return True


def _width_curves(
    state: SearchState, options: Sequence[Option], criteria: Sequence[str], counts: SampleCounts
) -> list[Curve]:
    """The curves of one group, one for each criterion, or none where they cannot be measured, which is said."""
    group = options[0].place.name
    ratios = [option.choice for option in options if isinstance(option.choice, float)]
    task = state.executor.submit(curve_tasks.width_effects, group, ratios, criteria, counts)
    try:
        found = task.result()
        return [_curve(options, effects, name) for name, effects in zip(criteria, found, strict=True)]
    except CandidateFailed as error:
        state.notice(f"{group} was left out: {error}")
        return []
    finally:
        state.progress.advance()


def _rank_curves(state: SearchState, layer: Sequence[Sequence[Option]], counts: SampleCounts) -> list[Curve]:
    """The curves of one layer, one for each method, or none where they cannot be measured, which is said."""
    name = layer[0][0].place.name
    choices = [
        (option.place.method, option.choice)
        for options in layer
        for option in options
        if not isinstance(option.choice, float)
    ]
    task = state.executor.submit(curve_tasks.rank_effects, name, choices, counts)
    try:
        effects = iter(task.result())
        return [_curve(options, [next(effects) for _ in options], "") for options in layer]
    except CandidateFailed as error:
        state.notice(f"{name} was left out: {error}")
        return []
    finally:
        state.progress.advance()


def _listed(state: SearchState, methods: Sequence[str], most: int) -> list[list[Option]]:
    """The choices of each place that make the float model faster, from mild to strong, at most so many."""
    places = state.executor.submit(tasks.places, list(methods), not methods).result()
    priced = worthwhile_options(state, places, _FLOAT, priced_ms(state, Recipe(), _FLOAT))
    known = {(options[0].place.name, options[0].place.method) for options in priced}
    left = list(dict.fromkeys(place.name for place in places if (place.name, place.method) not in known))
    if left:
        named = ", ".join(left[:_MOST_NAMED]) + (" and others" if len(left) > _MOST_NAMED else "")
        state.notice(f"not measured, because no smaller form of it is executed faster here: {named}")
    return [spread(options, most) for options in priced]


def _curve(options: Sequence[Option], effects: Sequence[Effect], criterion: str) -> Curve:
    place = options[0].place
    points = [
        CurvePoint(
            choice=option.choice,
            kept=kept_of(option.choice, place.full),
            saved_ms=option.saved_ms,
            damage=effect.damage,
            drop=effect.drop,
            compensated=effect.compensated,
            energy=effect.energy,
        )
        for option, effect in zip(options, effects, strict=True)
    ]
    return Curve(place.name, place.method, criterion, place.full, ordered(points))

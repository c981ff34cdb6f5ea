"""Has a stem made, and sets up what the search knows about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx

from autocompress.errors import CandidateFailed
from autocompress.recipe.builder import CandidateBuilder
from autocompress.recipe.recipe import Recipe
from autocompress.search import stages, tasks
from autocompress.search.counted_size import counted_bytes
from autocompress.search.encoding import Encoding
from autocompress.search.prices import OPTIONS, LatencyPrices
from autocompress.search.probes import Probe, fit_prices, probe_recipes
from autocompress.search.regions import Region
from autocompress.search.screening import Screened
from autocompress.search.state import SearchState
from autocompress.search.stem import StemState
from autocompress.search.stems import tasks as stem_tasks
from autocompress.search.stems.reference import pricing_config
from autocompress.search.waiting import wait_for

_SAMPLES = 16
_PARTS = "_decompose_"


def open_stem(state: SearchState, recipe: Recipe, deadline_s: float | None = None) -> StemState | None:
    """The stem of a recipe, ready for its quantized candidates; None where it cannot be made, which is said.

    Args:
        state: of the search.
        recipe: of the stem.
        deadline_s: seconds that its training may take.
    """
    if recipe.hash in state.stems:
        return state.stems[recipe.hash]
    path = None if state.folder is None else state.folder / f"progress-{recipe.hash}.json"
    state.progress.stage(f"make {described(recipe)}", limit_s=deadline_s)
    try:
        with state.stopwatch.stage("search"):
            future = state.executor.submit(stem_tasks.make, recipe, _SAMPLES, deadline_s, path)
            made = wait_for(state, future, path, "recover", trains=recipe.recover is not None and recipe.recover.trains)
        stem = StemState(_builder(state, made.path), recipe, elements=made.elements)
        _inherit(state, stem)
        stem.prices = _prices(state, stem)
    except CandidateFailed as error:
        state.notice(f"{described(recipe)} was left out: {error}")
        return None
    state.stems[recipe.hash] = stem
    return stem


def set_up(state: SearchState, stem: StemState) -> None:
    """Puts a stem at hand, with predictors of its own."""
    state.stem = stem
    if stem.scorer is None:
        stages.set_up_predictors(state, stem.screened[0].damage)


def described(recipe: Recipe) -> str:
    """A stem in words."""
    parts = []
    if recipe.downsample is not None:
        parts.append(f"an image of {recipe.downsample.height} x {recipe.downsample.width} pixels")
    if recipe.decompose is not None:
        parts.append(f"{_plural(len(recipe.decompose.layers), 'layer')} decomposed")
    if recipe.prune is not None and recipe.prune.branches:
        parts.append(f"{_plural(len(recipe.prune.branches), 'residual branch')} left out")
    if recipe.prune is not None and recipe.prune.ratios:
        parts.append(f"{_plural(len(recipe.prune.ratios), 'group')} of channels pruned")
    if recipe.sparsify is not None:
        parts.append(f"{_plural(len(recipe.sparsify.layers), 'layer')} sparse")
    if recipe.recover is not None and recipe.recover.trains:
        parts.append(f"recovered ({recipe.recover.level})")
    return f"the model with {' and '.join(parts)}"


def _plural(count: int, noun: str) -> str:
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count} {noun}{ending}"


def _builder(state: SearchState, path: str) -> CandidateBuilder:
    first = state.first_stem.builder
    return CandidateBuilder(onnx.load(path), first.runtime, first.fingerprint)


def _inherit(state: SearchState, stem: StemState) -> None:
    """Takes schemes and sensitivities of layers from the original: they hardly depend on numbers of channels."""
    first = state.first_stem
    assert first.scheme is not None and first.damage is not None
    stem.encoding = Encoding(state.settings.space, stem.regions, stem.recipe)
    stem.equalizations, stem.in_play = first.equalizations, dict(first.in_play)
    stem.scheme = first.scheme.on(stem.recipe)
    whole = next((s.damage for s in first.screened if s.recipe == first.scheme), first.screened[0].damage)
    stem.screened = [Screened(stem.scheme, whole)]
    stem.damage = inherited_damage(first.regions, first.damage, stem.regions)
    stem.sensitivity_measured = first.sensitivity_measured


def inherited_damage(
    known: Sequence[Region], damage: npt.NDArray[np.float64], regions: Sequence[Region]
) -> npt.NDArray[np.float64]:
    """Damage of regions by their names; parts of a decomposed layer have that of the layer.

    Args:
        known: regions of the original.
        damage: of shape (known, options).
        regions: of the stem.

    Returns:
        Of shape (regions, options), finite exactly where a region has the option.
    """
    rows = {region.name: row for region, row in zip(known, damage, strict=True)}
    with np.errstate(invalid="ignore"):
        middle = np.array([_median(column) for column in damage.T])
    found = []
    for region in regions:
        row = rows.get(region.name, rows.get(region.name.split(_PARTS)[0], middle))
        filled = np.where(np.isfinite(row), row, middle)
        found.append(np.where([option in region.options for option in OPTIONS], filled, np.inf))
    result: npt.NDArray[np.float64] = np.array(found)
    result[:, 0] = 0.0
    return result


def _median(column: npt.NDArray[np.float64]) -> float:
    known = column[np.isfinite(column)]
    return float(np.median(known)) if known.size else 1.0


def _prices(state: SearchState, stem: StemState) -> LatencyPrices:
    """Prices by probes, on the footing of what was measured of the original's candidates."""
    assert state.estimator is not None and state.first_stem.prices is not None
    recipes = probe_recipes(stem.regions, pricing_config(state), state.settings.space.precision)
    probes, size_as = {}, state.settings.size_as
    for name, (options, recipe) in recipes.items():
        seen = state.executor.submit(tasks.probe, recipe.on(stem.recipe)).result()
        probes[name] = Probe(options, seen.ops, counted_bytes(seen, size_as))
    prices = fit_prices(stem.builder, stem.regions, probes, state.estimator, stem.elements, size_as=size_as)
    return replace(prices, scale=state.first_stem.prices.scale)

"""Sensitivity: how much the network's output suffers when one region alone is quantized (needs no labels)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from autocompress.passes.quantize import FP32, INT8, QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search import tasks
from autocompress.search.prices import OPTIONS
from autocompress.search.regions import Region

FloatArray = npt.NDArray[np.float64]
_BATCH = 4


def measure_sensitivity(
    executor: Executor,
    regions: Sequence[Region],
    scheme: Recipe,
    precisions: Sequence[str],
    samples: int,
    advance: Callable[[int], None],
    out_of_time: Callable[[], bool],
) -> FloatArray:
    """Damage of each region in each precision, all others in float.

    Args:
        executor: runs the tasks.
        regions: the regions of the model.
        scheme: to equalize and quantize with; its precisions do not count.
        precisions: precisions in play.
        samples: how many samples of the search part to use.
        advance: called with the number of measurements finished.
        out_of_time: when it says so, the rest is filled with the median of what is known.

    Returns:
        Of shape (regions, options), 0 for fp32, inf where a region has no such option.
    """
    damage = np.full((len(regions), len(OPTIONS)), np.inf)
    damage[:, OPTIONS.index(FP32)] = 0.0
    wanted = [
        (i, precision)
        for i, region in enumerate(regions)
        for precision in precisions
        if precision != FP32 and precision in region.options
    ]
    # A stride spreads an interrupted measurement over the whole graph.
    ordered = [pair for start in range(_BATCH) for pair in wanted[start::_BATCH]]
    pending = []
    for start in range(0, len(ordered), _BATCH):
        pairs = ordered[start : start + _BATCH]
        recipes = [_alone(regions, i, precision, scheme) for i, precision in pairs]
        pending.append((pairs, executor.submit(tasks.damages, recipes, samples)))
    for pairs, future in pending:
        if out_of_time():
            future.cancel()
            continue
        for (i, precision), result in zip(pairs, future.result(), strict=True):
            damage[i, OPTIONS.index(precision)] = result.damage
        advance(len(pairs))
    return _filled(damage, wanted)


def _alone(regions: Sequence[Region], position: int, precision: str, scheme: Recipe) -> Recipe:
    precisions: dict[str, str] = {}
    for i, region in enumerate(regions):
        precisions |= region.precisions(precision if i == position else FP32)
    config = replace(scheme.quantize or QuantizeConfig(), precision=INT8, exceptions=())
    return replace(scheme, quantize=config.with_precisions(precisions))


def _filled(damage: FloatArray, wanted: Sequence[tuple[int, str]]) -> FloatArray:
    """Gives what was not measured in time the median of its option, so that no region looks free or forbidden."""
    for option in {OPTIONS.index(p) for _, p in wanted}:
        known = damage[np.isfinite(damage[:, option]), option]
        middle = float(np.median(known)) if known.size else 1.0
        for i, precision in wanted:
            if OPTIONS.index(precision) == option and not np.isfinite(damage[i, option]):
                damage[i, option] = middle
    return damage

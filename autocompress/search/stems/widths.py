"""Which widths of groups pay, told from one look at each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autocompress.errors import CandidateFailed
from autocompress.passes.decompose.config import Rank
from autocompress.passes.prune.staircase import worthwhile_widths
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.state import SearchState
from autocompress.search.stems import tasks
from autocompress.search.stems.combined_prices import CombinedPrices
from autocompress.search.stems.options import Option, Place, stem_of
from autocompress.search.stems.shapes import OperatorShapes

_BLOCK = 16  # of channels: widths on it have the same operators as the full one where layouts are blocked
_SEVERAL = 3
GAIN = 0.02


def learn_widths(
    state: SearchState, places: Sequence[Place], config: QuantizeConfig
) -> tuple[CombinedPrices, list[Place]]:
    """Looks at each group once, made smaller alone.

    Args:
        state: of the search.
        places: groups of channels.
        config: how to quantize.

    Returns:
        Prices of combinations, and the groups with ``follows`` set where their widths are priced by them.
    """
    assert state.estimator is not None
    try:
        full = state.executor.submit(tasks.look, Recipe(), config, 0).result()
    except CandidateFailed:
        return CombinedPrices(state.estimator, OperatorShapes([])), list(places)
    shapes = OperatorShapes([op.signature for op in full.ops])
    state.progress.stage("price smaller layers", total=len(places))
    shown = [Option(place, shown_choice(place)) for place in places]
    futures = [state.executor.submit(tasks.look, stem_of([option], "l2"), config, 0) for option in shown]
    told = []
    for option, future in zip(shown, futures, strict=True):
        if state.interrupted:
            future.cancel()
            told.append(option.place)
            continue
        try:
            seen = [op.signature for op in future.result().ops]
            follows = shapes.learn(option.place.name, option.place.full, option.removed, seen)
        except CandidateFailed:
            follows = False
        told.append(replace(option.place, follows=follows))
        state.progress.advance()
    return CombinedPrices(state.estimator, shapes), told


def shown_choice(place: Place) -> float:
    """The ratio to look at: the mildest that leaves whole blocks of channels, or as much of one as there is."""
    ratios = [choice for choice in place.choices if isinstance(choice, float)]
    return max(ratios, key=lambda ratio: (_block_of(place, ratio), -ratio))


def whole_blocks(place: Place) -> tuple[float | Rank, ...]:
    """Of a group's widths those in whole blocks, the largest blocks of which there are several; of ranks all."""
    if place.method:
        return place.choices
    for block in (_BLOCK, 8):
        found = tuple(c for c in place.choices if isinstance(c, float) and _block_of(place, c) >= block)
        if len(found) >= _SEVERAL:
            return found
    return place.choices


def _block_of(place: Place, ratio: float) -> int:
    """The largest block that divides the width that a ratio leaves."""
    left = place.full - Option(place, ratio).removed
    return next(size for size in (_BLOCK, 8, 4, 2, 1) if left % size == 0)


def worthwhile(place: Place, prices: CombinedPrices, full_ms: float) -> list[Option]:
    """The widths of a group that are cheaper than every larger one, all others at full width."""
    ratios = [choice for choice in place.choices if isinstance(choice, float)]
    saved_ms = prices.saved_ms(place.name, [Option(place, ratio).removed for ratio in ratios], {})
    left = [place.full - Option(place, ratio).removed for ratio in ratios]
    steps = worthwhile_widths(left, [full_ms - ms for ms in saved_ms], place.full, full_ms, GAIN)
    by_width = dict(zip(left, zip(ratios, saved_ms, strict=True), strict=True))
    return [Option(place, *by_width[step.width]) for step in steps]

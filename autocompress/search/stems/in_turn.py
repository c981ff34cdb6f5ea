"""Stems of every kind that the space has: smaller images, then fewer channels and ranks, then zeros in what is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autocompress.recipe.recipe import Recipe
from autocompress.search.space import NONE
from autocompress.search.state import SearchState
from autocompress.search.stem import StemState
from autocompress.search.stems.downsampling import propose_resolutions
from autocompress.search.stems.proposing import propose_stems
from autocompress.search.stems.resolutions import survey_resolutions
from autocompress.search.stems.sparse_proposing import propose_sparse_stems
from autocompress.search.stems.survey import survey


def propose_in_turn(state: SearchState, opened: Sequence[StemState]) -> Iterator[Recipe]:
    """Recipes of stems, each worked out when it is asked for.

    Args:
        state: of the search.
        opened: stems of these recipes so far; grows meanwhile.
    """
    resolutions = survey_resolutions(state)
    yield from propose_resolutions(state, resolutions)
    if makes_smaller_layers(state):
        yield from propose_stems(state, survey(state), resolutions)
    if any(name != NONE for name in state.settings.space.sparsity):
        yield from propose_sparse_stems(state, _base_of_zeros(state, opened))


def makes_smaller_layers(state: SearchState) -> bool:
    """Whether the space lets channels go or layers become smaller ones."""
    space = state.settings.space
    return any(name != NONE for name in (*space.decomposition, *space.pruning))


def _base_of_zeros(state: SearchState, opened: Sequence[StemState]) -> Recipe:
    """The stem that zeros are put into: the mildest that is as fast as asked for, or the smallest without that."""
    limit_ms = state.limits.latency_ms
    if limit_ms is None:
        return _smallest(state, opened)
    for stem in opened:
        own = [trial for trial in state.ledger.complete if state.stem_of(trial.recipe) is stem]
        if any(state.latency_ms(trial) <= limit_ms for trial in own):
            return stem.recipe
    return opened[-1].recipe if opened else Recipe()


def _smallest(state: SearchState, opened: Sequence[StemState]) -> Recipe:
    """The stem of the smallest candidate within the accuracy limit; the original where that is one of its own."""
    within = [t for t in state.ledger.complete if t.evaluated.drop.drop <= state.limits.accuracy_drop]
    best = min(within, key=lambda trial: state.limits.counted_bytes(trial.evaluated), default=None)
    stem = None if best is None else state.stem_of(best.recipe)
    return stem.recipe if stem is not None and stem in opened else Recipe()

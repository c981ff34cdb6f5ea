"""What a space asks of stems that this model or these samples do not have is left out, and said."""

from __future__ import annotations

from dataclasses import replace

from autocompress.passes.prune import BATCH_NORM_SCALE
from autocompress.search.space import NONE
from autocompress.search.state import SearchState
from autocompress.search.stems import tasks


def leave_out_unusable(state: SearchState) -> None:
    """Takes out of the space what cannot be, before stems are made."""
    space = state.settings.space
    if BATCH_NORM_SCALE in space.pruning:
        scaled, groups = state.executor.submit(tasks.groups_with_scale).result()
        if scaled < groups:
            state.notice(_about_scales(scaled, groups))
        if not scaled:
            kept = tuple(name for name in space.pruning if name != BATCH_NORM_SCALE) or (NONE,)
            state.settings = replace(state.settings, space=replace(space, pruning=kept))
    if space.recovery.get("label_weight") and not state.executor.submit(tasks.has_training_labels).result():
        state.notice("recovery has no task loss, because the calibration samples have no labels")


def _about_scales(scaled: int, groups: int) -> str:
    if not scaled:
        return (
            f"the criterion {BATCH_NORM_SCALE!r} was left out: the model's channels have no batch normalization; it "
            "was folded before the model came in, or never there"
        )
    return (
        f"the criterion {BATCH_NORM_SCALE!r} judges {scaled} of {groups} groups of channels; the others have no batch "
        "normalization"
    )

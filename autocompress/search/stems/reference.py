"""The quantized original that stems start from: the fastest one whose loss is not beyond the limit.

What a stem saves depends on which of its layers will be int8, so stems are priced in the precisions of this one, and
quantized like it first: all int8 destroys some models, whatever their widths.
"""

from __future__ import annotations

from dataclasses import replace

from autocompress.passes.quantize import FP32, INT8, QuantizeConfig
from autocompress.search.proposals import Proposal
from autocompress.search.ranking import standard_error
from autocompress.search.state import SearchState
from autocompress.search.stems.precisions import fitted
from autocompress.search.trials import Trial


def reference_trial(state: SearchState) -> Trial | None:
    """The trial, None where no quantized original keeps the limit."""
    limit = state.limits.accuracy_drop
    own = [trial for trial in state.ledger.complete if state.stem_of(trial.recipe) is state.first_stem]
    within = [t for t in own if t.evaluated.drop.drop - 2 * standard_error(t) <= limit]
    return min(within, key=state.latency_ms, default=None)


def reference_ms(state: SearchState) -> float:
    """Its latency on the scale that steers; the baseline's where there is none."""
    trial = reference_trial(state)
    return state.baseline_ms if trial is None else state.latency_ms(trial)


def pricing_config(state: SearchState) -> QuantizeConfig:
    """How stems are quantized where only their speed counts: as the best scheme does, everywhere."""
    assert state.first_stem.scheme is not None and state.first_stem.scheme.quantize is not None
    precision = INT8 if INT8 in state.settings.space.precision else FP32
    return replace(state.first_stem.scheme.quantize, precision=precision, exceptions=())


def reference_config(state: SearchState) -> QuantizeConfig:
    """How stems are quantized where they are compared with each other: as the reference is."""
    trial = reference_trial(state)
    found = None if trial is None else trial.recipe.quantize
    return pricing_config(state) if found is None else found


def reference_proposals(state: SearchState) -> list[Proposal]:
    """The stem at hand, quantized like the reference; nothing where precisions are not chosen one by one."""
    trial = reference_trial(state)
    if trial is None or trial.recipe.quantize is None or state.settings.space.per != "unit":
        return []
    assert state.scheme is not None and state.encoding is not None and state.scorer is not None
    config = fitted(trial.recipe.quantize, state.units)
    recipe = replace(trial.recipe, quantize=config, reconstruct=None).on(state.stem.recipe)
    recipe = state.encoding.to_recipe(state.encoding.to_params(recipe))
    if recipe in state.ledger:
        return []
    return state.scorer.propose(state.encoding, [state.encoding.to_params(recipe)], "seed")

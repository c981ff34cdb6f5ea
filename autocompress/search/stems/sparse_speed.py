"""Whether zeros pay here: by the compressed size that is asked for, or by time on the runtime at hand.

A sparse operator is priced as the latency table knows it, and timed first where it may be; else by what forests say of
zeros.  Time counts only beyond what measurements of single operators are off by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from autocompress.errors import CandidateFailed
from autocompress.passes.sparsify import SparsifyConfig
from autocompress.passes.sparsify.config import MAGNITUDE
from autocompress.passes.weighted_layers import MULTIPLYING
from autocompress.recipe.recipe import Recipe
from autocompress.search.counted_size import DEFLATE
from autocompress.search.space import NONE
from autocompress.search.state import SearchState
from autocompress.search.stems import sparse_tasks
from autocompress.search.stems.reference import pricing_config
from autocompress.search.stems.sparse_survey import SparseOption, patterns_of

_GAIN = 0.05  # tables are good to 4 % of an operator
_TIMING_S = 5.0


def settle_sparsity(state: SearchState) -> None:
    """Takes zeros out of the search where they bring neither size nor time, and says so."""
    space = state.settings.space
    if all(name == NONE for name in space.sparsity) or _counts_compressed(state):
        return
    gain = _time_gain(state)
    if gain >= _GAIN and state.limits.latency_ms is not None:
        state.estimator = state.open_estimator()
        state.notice(f"zeros in weights are estimated to save {gain:.0%} of the time in {_runtime(state)} here")
        return
    state.settings = replace(state.settings, space=replace(space, sparsity=(NONE,)))
    state.notice(_why_not(state, gain))


def wants_speed(state: SearchState) -> bool:
    """Whether zeros are searched for their time, not for the compressed size."""
    return not _counts_compressed(state)


def faster_options(state: SearchState, base: Recipe, options: Sequence[SparseOption]) -> list[SparseOption]:
    """The same options with the milliseconds that each saves, by the operators that execute its layer.

    Args:
        state: of the search.
        base: the stem that is to become sparse.
        options: of single layers.
    """
    patterns = list(dict.fromkeys(option.pattern for option in options))
    state.progress.stage("price sparse layers", total=len(patterns))
    dense = _layer_ms(state, _seen(state, base, None))
    sparse: dict[str, dict[str, float]] = {}
    for pattern in patterns:
        layers = tuple((option.layer, pattern) for option in options if option.pattern == pattern)
        sparse[pattern] = _layer_ms(state, _seen(state, base, SparsifyConfig(layers, MAGNITUDE)))
        state.progress.advance()
    return [
        replace(option, saved=dense.get(option.layer, 0.0) - sparse[option.pattern].get(option.layer, math.inf))
        for option in options
    ]


def _layer_ms(state: SearchState, seen: sparse_tasks.SparseLook | None) -> dict[str, float]:
    """Milliseconds of the operators that execute each layer; none where the model cannot be made."""
    assert state.estimator is not None
    found: dict[str, float] = {}
    if seen is None:
        return found
    for layer, price in zip(seen.layers, state.estimator.price([op.signature for op in seen.ops]), strict=True):
        found[layer] = found.get(layer, 0.0) + price.latency_us / 1e3
    return found


def latency_of(state: SearchState, seen: sparse_tasks.SparseLook | None) -> float:
    """Estimated latency of what was looked at; inf where it cannot be made."""
    assert state.estimator is not None
    return math.inf if seen is None else state.estimator.estimate(seen.ops).latency_ms


def _counts_compressed(state: SearchState) -> bool:
    return state.limits.size_bytes is not None and state.settings.size_as == DEFLATE


def _time_gain(state: SearchState) -> float:
    """Share of the time that the strongest patterns save on the whole model, estimated; 0 where nothing is known."""
    base, layers, patterns = Recipe(), _weighted_layers(state), _strongest(state)
    dense, gains = _seen(state, base, None), [0.0]
    if not layers or dense is None:
        return 0.0
    for pattern in patterns:
        config = SparsifyConfig(tuple((name, pattern) for name in layers), MAGNITUDE)
        _time(state, base, config, _TIMING_S / len(patterns))
        seen = _seen(state, base, config)
        if seen is not None:
            estimator = state.open_estimator()
            sparse_ms, dense_ms = (found.latency_ms for found in estimator.estimate_many([seen.ops, dense.ops]))
            gains.append(1.0 - sparse_ms / dense_ms)
    return max(gains)


def _time(state: SearchState, base: Recipe, config: SparsifyConfig, budget_s: float) -> None:
    """Has sparse operators timed, where measured time may steer and this is the device that counts."""
    if state.settings.deterministic or not state.settings.profiles:
        return
    try:
        state.executor.submit(sparse_tasks.time_operators, base, config, pricing_config(state), budget_s).result()
    except CandidateFailed as error:
        state.notice(f"sparse operators were not timed: {error}")


def _seen(state: SearchState, base: Recipe, config: SparsifyConfig | None) -> sparse_tasks.SparseLook | None:
    try:
        return state.executor.submit(sparse_tasks.look, base, config, pricing_config(state), 0).result()
    except CandidateFailed:
        return None


def _weighted_layers(state: SearchState) -> list[str]:
    """Layers whose weights may become zero, in graph order."""
    units = state.first_stem.units
    return [unit.name for unit in units if unit.weight is not None and unit.op_type in MULTIPLYING]


def _strongest(state: SearchState) -> list[str]:
    """The strongest pattern of each kind in the space."""
    kinds = {name.split("@")[0]: name for name in patterns_of(state)}
    return list(kinds.values())


def _runtime(state: SearchState) -> str:
    return state.first_stem.builder.runtime


def _why_not(state: SearchState, gain: float) -> str:
    time = f"save {gain:.1%} of the time" if gain > 0 else "save no time"
    why = f"zeros are estimated to {time} in {_runtime(state)} here, and make the file no smaller as it is opened"
    if state.limits.latency_ms is None and gain >= _GAIN:
        why = "nothing that zeros bring was asked for"
    return (
        f"sparsity was left out of the search: {why}; give --target-size with --size-as deflate for the size of the "
        "file compressed for transfer"
    )

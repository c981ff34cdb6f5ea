"""What zeros would bring and cost, layer by layer: bytes saved, estimated, and damage at the output, measured.

Damage is measured for a mild and a strong pattern of each layer, as far as time allows.  In between it follows the
error of the layer's own output, which costs nothing to work out:

    damage = damage of the nearest * (error / error of the nearest),  or the line through two, both in logarithms
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from autocompress.errors import CandidateFailed
from autocompress.passes.quantize import INT8
from autocompress.passes.sparsify import SparsifyConfig
from autocompress.passes.sparsify.candidates import Candidate
from autocompress.recipe.recipe import Recipe
from autocompress.search.space import NONE, UNSTRUCTURED
from autocompress.search.state import SearchState
from autocompress.search.stems import sparse_tasks

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_SHARE_OF_TIME = 0.06
_SAMPLES = 16
_WORTH = 0.99  # of all that can be saved; layers beyond it are too small to matter


@dataclass(frozen=True)
class SparseOption:
    """One pattern for one layer.

    Attributes:
        layer: name of the node.
        pattern: as in a ``SparsifyConfig``.
        saved: by how much the model gets smaller (bytes) or faster (milliseconds).
        damage: at the output, with nothing recovered.
    """

    layer: str
    pattern: str
    saved: float
    damage: float


def survey_zeros(state: SearchState, base: Recipe, *, every: bool) -> list[SparseOption]:
    """Every pattern worth a thought, with what it saves in compressed bytes and what it loses.

    Args:
        state: of the search.
        base: the stem that is to become sparse.
        every: whether also patterns count that another one beats in bytes and error, because a runtime may like them.
    """
    criterion = survey_criterion(state)
    int8 = INT8 in state.settings.space.precision
    with state.stopwatch.stage("search"):
        state.progress.stage("see what zeros would save")
        patterns = patterns_of(state)
        asked = state.executor.submit(sparse_tasks.sparse_candidates, base, criterion, patterns, int8, every)
        found = asked.result()
        layers = _worthwhile(found)
        measured = _measured(state, base, criterion, layers)
        return [
            SparseOption(c.layer, c.pattern, float(c.saved_bytes), damage)
            for own in layers
            for c, damage in zip(own, damages_of(own, measured), strict=True)
        ]


def patterns_of(state: SearchState) -> tuple[str, ...]:
    """The patterns of the space: for zeros at any place a row of shares."""
    named = [name for name in state.settings.space.sparsity_pattern if name != NONE] or [UNSTRUCTURED]
    shares = [f"{UNSTRUCTURED}@{share:g}" for share in SHARES] if UNSTRUCTURED in named else []
    return (*shares, *(name for name in named if name != UNSTRUCTURED))


def survey_criterion(state: SearchState) -> str:
    """The criterion by which layers are compared; SparseGPT takes too long for that and chooses much as Wanda."""
    return "magnitude" if {*state.settings.space.sparsity} <= {NONE, "magnitude"} else "wanda"


def damages_of(own: Sequence[Candidate], measured: Mapping[tuple[str, str], float]) -> list[float]:
    """Damage of every candidate of one layer.

    Args:
        own: of the layer, from mild to strong.
        measured: (layer, pattern) -> damage, of this layer and of others.
    """
    known = [(c.error, measured[c.layer, c.pattern]) for c in own if (c.layer, c.pattern) in measured]
    known = [(error, damage) for error, damage in known if error > 0 and damage > 0 and math.isfinite(damage)]
    if not known:
        return [c.error * _typical(own, measured) for c in own]
    return [measured.get((c.layer, c.pattern), _between(known, c.error)) for c in own]


def _between(known: Sequence[tuple[float, float]], error: float) -> float:
    """Damage at an error, from others of the same layer."""
    below = [point for point in known if point[0] <= error]
    above = [point for point in known if point[0] > error]
    if not below or not above:
        nearest = below[-1] if below else above[0]
        return nearest[1] * error / nearest[0]
    (low, first), (high, second) = below[-1], above[0]
    share = math.log(error / low) / math.log(high / low)
    return float(first * (second / first) ** share)


def _typical(own: Sequence[Candidate], measured: Mapping[tuple[str, str], float]) -> float:
    """Damage for an error of 1 of a layer that nobody measured: as in the others, or all of the output."""
    finite = [damage for damage in measured.values() if math.isfinite(damage)]
    return float(min(median(finite), 1.0) / max(max(c.error for c in own), 1e-12)) if finite else 1.0


def _worthwhile(found: Sequence[Candidate]) -> list[list[Candidate]]:
    """Candidates by layer, the layer that can save most first, without those that hardly count."""
    layers: dict[str, list[Candidate]] = {}
    for candidate in found:
        layers.setdefault(candidate.layer, []).append(candidate)
    order = sorted(layers.values(), key=lambda own: -own[-1].saved_bytes)
    total, covered = sum(own[-1].saved_bytes for own in order), 0
    kept: list[list[Candidate]] = []
    for own in order:
        if covered >= _WORTH * total:
            break
        kept.append(own)
        covered += own[-1].saved_bytes
    return kept


def _measured(
    state: SearchState, base: Recipe, criterion: str, layers: Sequence[Sequence[Candidate]]
) -> dict[tuple[str, str], float]:
    """(layer, pattern) -> damage beyond that of the stem: one in the middle of every layer, then the strongest."""
    wanted = [own[len(own) // 2] for own in layers] + [own[-1] for own in layers if len(own) > 1]
    state.progress.stage("measure what zeros lose", total=len(wanted))
    begin = time.monotonic()
    found: dict[tuple[str, str], float] = {}
    already = 0.0 if base == Recipe() else _damage(state, base, None)
    for candidate in dict.fromkeys(wanted):
        if _is_over(state, time.monotonic() - begin) or state.interrupted:
            break
        config = SparsifyConfig(((candidate.layer, candidate.pattern),), criterion)
        found[candidate.layer, candidate.pattern] = max(_damage(state, base, config) - already, 0.0)
        state.progress.advance()
    return found


def _damage(state: SearchState, base: Recipe, config: SparsifyConfig | None) -> float:
    try:
        seen = state.executor.submit(sparse_tasks.look, base, config, None, _SAMPLES).result()
    except CandidateFailed:
        return math.inf
    return float(seen.damage)


def _is_over(state: SearchState, spent_s: float) -> bool:
    """Whether the time for measuring is used up; never where no clock may steer."""
    timeout_s = state.settings.timeout_s
    return not state.settings.deterministic and timeout_s is not None and spent_s > _SHARE_OF_TIME * timeout_s

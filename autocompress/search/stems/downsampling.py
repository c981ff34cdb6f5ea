"""Stems that differ from the original in the resolution at which they read its image, and in nothing else.

They cost nothing to make, because no weight changes: those are proposed first that should just reach the target, and
what measuring them shows corrects the prices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autocompress.recipe.recipe import Recipe
from autocompress.search.state import SearchState
from autocompress.search.stems.reference import reference_ms
from autocompress.search.stems.resolutions import Resolution
from autocompress.search.trials import Trial

# Of the time of the quantized original, where no target says how much.
_UNTARGETED = (0.75, 0.55)
_MOST_PROPOSED = 3
_AIM = 0.985  # of the time that is allowed: what is measured varies


def propose_resolutions(state: SearchState, resolutions: Sequence[Resolution]) -> Iterator[Recipe]:
    """Stems that should reach the target with the least damage, each worked out when it is asked for.

    Where they lose too much, milder ones follow by halving: the fastest within the accuracy limit is what a user gets
    whose target is out of reach.

    Args:
        state: of the search, whose trials show meanwhile how fast those proposed before are.
        resolutions: as surveyed.
    """
    if not resolutions:
        return
    target_ms = state.limits.latency_ms
    if target_ms is None:
        chosen = [_least_damaged(resolutions, share) for share in _UNTARGETED]
        yield from (_stem(found) for found in dict.fromkeys(chosen) if found is not None)
        return
    tried: list[Resolution] = []
    for found in _towards(state, resolutions, target_ms / reference_ms(state)):
        tried.append(found)
        yield _stem(found)
    mildest = min((resolutions.index(found) for found in tried), default=len(resolutions))
    yield from map(_stem, _milder(state, resolutions, mildest))


def _towards(state: SearchState, resolutions: Sequence[Resolution], wanted: float) -> Iterator[Resolution]:
    """Sizes that should take a share of the time, the next one by what was measured of the one before."""
    off = 1.0
    tried: list[Resolution] = []
    for _ in range(_MOST_PROPOSED):
        found = _least_damaged(resolutions, wanted / off * _AIM)
        reached = bool(tried) and tried[-1].share * off <= wanted
        if found is None or found in tried or (reached and found.damage > tried[-1].damage):
            return
        tried.append(found)
        yield found
        off = _slower_than_priced(state, found, off)


def _milder(state: SearchState, resolutions: Sequence[Resolution], lossy: int) -> Iterator[Resolution]:
    """Sizes between the full one and one that loses too much, halving what is between, as long as that tells anything.

    Args:
        state: of the search.
        resolutions: from large to small.
        lossy: position of the largest that was tried.
    """
    good = -1
    if lossy < len(resolutions) and _keeps_accuracy(state, resolutions[lossy]):
        return
    for _ in range(_MOST_PROPOSED):
        middle = (good + lossy) // 2
        if middle == good:
            return
        yield resolutions[middle]
        if _keeps_accuracy(state, resolutions[middle]):
            good = middle
        else:
            lossy = middle


def _keeps_accuracy(state: SearchState, resolution: Resolution) -> bool:
    return any(trial.evaluated.drop.drop <= state.limits.accuracy_drop for trial in _measured(state, resolution))


def _measured(state: SearchState, resolution: Resolution) -> list[Trial]:
    stem = _stem(resolution)
    return [trial for trial in state.ledger.complete if trial.recipe.float_part == stem]


def _stem(resolution: Resolution) -> Recipe:
    return Recipe(downsample=resolution.config)


def _least_damaged(resolutions: Sequence[Resolution], share: float) -> Resolution | None:
    """The size that damages least of those fast enough."""
    return min((r for r in resolutions if r.share <= share), key=lambda r: r.damage, default=None)


def _slower_than_priced(state: SearchState, resolution: Resolution, before: float) -> float:
    """How many times longer than priced the fastest candidate of a size takes; as before where none was measured."""
    own = _measured(state, resolution)
    # What was verified was timed far longer.
    verified = [
        t.verification.speedup for t in own if t.verification is not None and t.verification.speedup is not None
    ]
    latencies_ms = [state.baseline_ms / found.speedup for found in verified] or [state.latency_ms(t) for t in own]
    return min(latencies_ms) / reference_ms(state) / resolution.share if own else before

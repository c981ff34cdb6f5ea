"""Estimates corrected by measurements of k candidates of the same model.

The first anchor is the float model, the second its int8 form, which every search measures first; the others come in an
order drawn once.  Anchors are not scored.  The package's estimates are corrected as the package does it; predictions of
other methods by one factor, the geometric mean of measured over predicted.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from autocompress.latency.anchoring import Anchor
from latency_scoring.judged import Judged, Prediction
from latency_scoring.scores import Pair

COUNTS = (0, 2, 8)
_FIRST = ("float", "int8")
_SEED = 7


def anchored(candidates: Sequence[Judged], method: str, k: int) -> list[Pair]:
    """What a method says of the candidates of one model in one setting once k of them have been measured.

    Args:
        candidates: all of them, in the order of the catalogue.
        method: one that has a prediction for each.
        k: measured candidates.

    Returns:
        The candidates that are no anchors, with their corrected predictions.
    """
    order = _anchor_order(candidates)
    anchors, rest = order[:k], order[k:]
    rest.sort(key=candidates.index)
    if all(method in c.anchorable for c in candidates):
        known = [Anchor(a.anchorable[method].candidate, a.truth_ms) for a in anchors]
        return [(c, Prediction.of(c.anchorable[method].corrected(known))) for c in rest]
    factor = _factor([(a.predictions[method].latency_ms, a.truth_ms) for a in anchors])
    return [(c, Prediction(c.predictions[method].latency_ms * factor)) for c in rest]


def _anchor_order(candidates: Sequence[Judged]) -> list[Judged]:
    first = [c for recipe in _FIRST for c in candidates if c.form.base == "plain" and c.form.recipe == recipe]
    others = [c for c in candidates if c not in first]
    random.Random(_SEED).shuffle(others)
    return [*first, *others]


def _factor(pairs: Sequence[tuple[float, float]]) -> float:
    """Geometric mean of measured over predicted; 1 without anchors, or where a method predicts nothing at all."""
    product = 1.0
    for predicted, measured in pairs:
        if predicted <= 0:
            return 1.0
        product *= measured / predicted
    return float(product ** (1 / len(pairs))) if pairs else 1.0

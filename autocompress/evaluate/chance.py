"""Whether a value is no better than guessing."""

from __future__ import annotations

import math

from autocompress.evaluate.metrics import Metric

_SIGNIFICANCE = 0.05


def at_chance(value: float, metric: Metric, n_classes: int | None, n: int) -> bool:
    """Whether a value on ``n`` samples could come from a model that guesses.

    top1 and top5: the number of hits is not above what guessing among ``n_classes`` gives in 19 cases of 20 (exact
    binomial).  spearman over samples: the correlation is not above zero at that level.  Metrics against the original
    model, and others, have no chance level: False.

    Args:
        value: of the metric.
        metric: which one.
        n_classes: number of classes, None where there are none.
        n: number of samples.
    """
    if not metric.needs_labels:
        return False
    if metric.name in ("top1", "top5") and n_classes is not None:
        chance = min(1.0, (1 if metric.name == "top1" else 5) / n_classes)
        return _binomial_tail(round(value * n), n, chance) > _SIGNIFICANCE
    if metric.name == "spearman" and metric.per_sample is False:
        return value <= 1.645 / math.sqrt(max(n - 1, 1))
    return False


def _binomial_tail(hits: int, n: int, probability: float) -> float:
    """P(X >= hits) for X binomial."""
    if hits <= 0 or probability >= 1.0:
        return 1.0
    log_p, log_q = math.log(probability), math.log1p(-probability)
    terms = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_p + (n - k) * log_q
        for k in range(hits, n + 1)
    )
    return math.fsum(math.exp(term) for term in terms)

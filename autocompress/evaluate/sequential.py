"""Stopping an evaluation as soon as a candidate is clearly in or clearly out.

Looking again and again at growing data finds a "significant" difference sooner or later.  The error rate ``alpha`` is
therefore spent over a few looks fixed beforehand (16, 32, 64, ... samples), alpha / looks at each (Bonferroni's bound;
group-sequential testing as in Lan and DeMets 1983, Biometrika 70, 659-663).  Each look uses one side of the paired
interval at that level, so that what holds for few samples and rare flips holds here too.  Samples must come in random
order.

Bonferroni's bound makes both errors about half of ``alpha``.  The exception is "fine" for losses with a very long tail
(log-normal: 1 in 10 at alpha = 0.05), since the samples seen may miss the tail; verification has the last word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from autocompress.evaluate.evaluation import FloatArray, Verdict
from autocompress.evaluate.statistics import paired_drop
from autocompress.measurement import Interval

FIRST_LOOK = 16


@dataclass(frozen=True)
class StopRule:
    """Compares a candidate with the baseline on the samples seen so far.

    Attributes:
        baseline_scores: of shape (n,), in the order in which samples are evaluated.
        limit: the largest drop allowed, in the metric's unit.
        higher_is_better: direction of the metric.
        continuous: see ``paired_drop``.
        alpha: the chance, over all looks, of calling a candidate at the limit out (and likewise in).
        first_look: number of samples before the first look; it doubles at each.
        stops_when_fine: also stop once the drop is clearly within the limit.
    """

    baseline_scores: FloatArray = field(repr=False)
    limit: float
    higher_is_better: bool = True
    continuous: bool = False
    alpha: float = 0.05
    first_look: int = FIRST_LOOK
    stops_when_fine: bool = False

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of samples at which to look; never at the last, where there is nothing left to save."""
        looks, count = [], self.first_look
        while count < len(self.baseline_scores):
            looks.append(count)
            count *= 2
        return tuple(looks)

    def next_look(self, seen: int) -> int | None:
        """The first look after ``seen`` samples, None when there is none left."""
        return next((look for look in self.looks if look > seen), None)

    def decide(self, candidate_scores: FloatArray) -> Verdict | None:
        """What the scores so far say, at one look.

        Args:
            candidate_scores: of shape (m,), the first m samples.
        """
        level = self.alpha / max(1, len(self.looks))
        interval = self._interval(candidate_scores, level)
        if interval.low > self.limit:
            return "worse"
        if self.stops_when_fine and interval.high <= self.limit:
            return "fine"
        return None

    def _interval(self, candidate_scores: FloatArray, level: float) -> Interval:
        return _one_sided(
            self.baseline_scores[: len(candidate_scores)],
            candidate_scores,
            level,
            higher_is_better=self.higher_is_better,
            continuous=self.continuous,
        )


def clearly_worse(baseline: FloatArray, candidate: FloatArray, limit: float, alpha: float, **scores: Any) -> bool:
    """Whether the drop is above ``limit``, wrong with probability ``alpha`` at most, for a single look.

    Args:
        baseline: scores of shape (n,).
        candidate: scores of the same samples.
        limit: the largest drop allowed.
        alpha: the error rate of this look.
        **scores: ``higher_is_better`` and ``continuous`` as in ``paired_drop``.
    """
    return _one_sided(baseline, candidate, alpha, **scores).low > limit


def clearly_fine(baseline: FloatArray, candidate: FloatArray, limit: float, alpha: float, **scores: Any) -> bool:
    """Whether the drop is at most ``limit``, wrong with probability ``alpha`` at most, for a single look.

    Args:
        baseline: scores of shape (n,).
        candidate: scores of the same samples.
        limit: the largest drop allowed.
        alpha: the error rate of this look.
        **scores: ``higher_is_better`` and ``continuous`` as in ``paired_drop``.
    """
    return _one_sided(baseline, candidate, alpha, **scores).high <= limit


def _one_sided(
    baseline: FloatArray,
    candidate: FloatArray,
    alpha: float,
    *,
    higher_is_better: bool = True,
    continuous: bool = False,
) -> Interval:
    """Interval each of whose ends errs with probability ``alpha``."""
    return paired_drop(baseline, candidate, higher_is_better, continuous=continuous, confidence=1.0 - 2.0 * alpha).ci95

"""How much a candidate loses against the baseline on the same samples, with an interval.

The samples are the same for both, so the interval is that of the paired difference, far narrower than those of the two
values.  Which method applies depends on the metric:

- binary scores (top1, top5): Tango's score interval ("tango-score");
- other scores per sample: Student's t widened by bootstrap-t ("bootstrap-t");
- bounded scores of which few differ: that, widened by Tango's interval of the number that differ ("tango-hull");
- built-in set metrics (miou, spearman): the jackknife over samples or groups of samples ("jackknife");
- a user's function that gives one number: the jackknife over groups, from values already computed ("jackknife").  A
  bootstrap would hand the function duplicated samples, which it has no reason to expect.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from autocompress.errors import MetricError
from autocompress.evaluate.evaluation import Evaluation
from autocompress.evaluate.intervals import (
    FloatArray,
    hull,
    is_sparse,
    mean_interval,
    student_quantile,
    tango_interval,
)
from autocompress.evaluate.metrics import Metric, RowMetric
from autocompress.measurement import Interval, MeasuredDrop

_LARGEST_JACKKNIFE = 100  # groups; more change nothing


def paired_drop(
    baseline_scores: FloatArray,
    candidate_scores: FloatArray,
    higher_is_better: bool,
    *,
    continuous: bool = False,
    confidence: float = 0.95,
    seed: int = 0,
) -> MeasuredDrop:
    """Mean loss per sample, positive where the candidate is worse.

    Args:
        baseline_scores: of shape (n,).
        candidate_scores: of shape (n,), the same samples in the same order.
        higher_is_better: direction of the scores.
        continuous: the scores vary smoothly, so that equal ones mean equal outputs; otherwise scores within [0, 1]
            that rarely differ are taken to be able to jump.
        confidence: of the two-sided interval.
        seed: of the resampling.

    Raises:
        MetricError: when there are fewer than two samples.
        ValueError: when the shapes differ.
    """
    if baseline_scores.shape != candidate_scores.shape or baseline_scores.ndim != 1:
        raise ValueError(f"scores of shapes {baseline_scores.shape} and {candidate_scores.shape} are not paired")
    n = len(baseline_scores)
    if n < 2:
        raise MetricError(f"An interval needs at least 2 samples, not {n}.")
    losses = baseline_scores - candidate_scores if higher_is_better else candidate_scores - baseline_scores
    losses = losses.astype(np.float64)
    drop = float(losses.mean())
    lost, won = int(np.count_nonzero(losses > 0)), int(np.count_nonzero(losses < 0))
    if not continuous and _within(baseline_scores, candidate_scores, binary=True):
        return MeasuredDrop(drop, tango_interval(lost, won, n, confidence), n, "tango-score")
    interval = mean_interval(losses, confidence, seed)
    if not continuous and is_sparse(losses) and _within(baseline_scores, candidate_scores, binary=False):
        return MeasuredDrop(drop, hull(interval, tango_interval(lost, won, n, confidence)), n, "tango-hull")
    return MeasuredDrop(drop, interval, n, "bootstrap-t")


def measure_drop(baseline: Evaluation, candidate: Evaluation, metric: Metric, *, seed: int = 0) -> MeasuredDrop:
    """The drop between two evaluations of the same samples, with its 95 % interval.

    A metric against the original model cannot improve on it, so its interval does not reach below zero.

    Raises:
        MetricError: when there are too few samples, or a user's set metric was evaluated without groups left out.
        ValueError: when the evaluations are of different samples.
    """
    if not np.array_equal(baseline.indices, candidate.indices):
        raise ValueError("the evaluations are of different samples")
    if baseline.scores is not None and candidate.scores is not None:
        drop = paired_drop(
            baseline.scores, candidate.scores, metric.higher_is_better, continuous=metric.continuous, seed=seed
        )
    else:
        drop = _set_drop(baseline, candidate, metric)
    if isinstance(metric, RowMetric) and not metric.needs_labels:
        return MeasuredDrop(drop.drop, Interval(max(drop.ci95.low, 0.0), max(drop.ci95.high, 0.0)), drop.n, drop.method)
    return drop


def jackknife_interval(whole: float, left_out: FloatArray, confidence: float = 0.95) -> Interval:
    """Interval of a statistic from its values with one group left out at a time (Tukey's pseudo-values and t).

    Args:
        whole: the statistic of all samples.
        left_out: of shape (groups,), the statistic without each group; groups of (nearly) equal size.
        confidence: two-sided.
    """
    groups = len(left_out)
    error = math.sqrt((groups - 1) / groups * float(np.square(left_out - left_out.mean()).sum()))
    reach = student_quantile(0.5 + confidence / 2, groups - 1) * error
    return Interval(whole - reach, whole + reach)


def group_of(n: int, groups: int) -> npt.NDArray[np.int64]:
    """Group number of each of n samples, in turn: 0, 1, ..., groups - 1, 0, 1, ..."""
    return np.arange(n, dtype=np.int64) % groups


def _set_drop(baseline: Evaluation, candidate: Evaluation, metric: Metric) -> MeasuredDrop:
    sign = 1.0 if metric.higher_is_better else -1.0
    drop = sign * (baseline.value - candidate.value)
    left_out = [sign * _left_out(evaluation, metric) for evaluation in (baseline, candidate)]
    if len(left_out[0]) != len(left_out[1]) or len(left_out[0]) < 2:
        raise MetricError(f"{metric.name} was evaluated with {[len(v) for v in left_out]} groups left out.")
    interval = jackknife_interval(drop, left_out[0] - left_out[1])
    if not metric.continuous and interval.low == interval.high and 0.0 <= min(baseline.value, candidate.value) <= 1.0:
        interval = hull(interval, tango_interval(0, 0, baseline.n))  # no group changed: rare changes are still possible
    return MeasuredDrop(drop, interval, baseline.n, "jackknife")


def _left_out(evaluation: Evaluation, metric: Metric) -> FloatArray:
    """Values of a set metric with each group left out."""
    if evaluation.left_out is not None:
        return evaluation.left_out
    if evaluation.rows is None or not isinstance(metric, RowMetric):
        return np.zeros(0)
    group = group_of(evaluation.n, min(evaluation.n, _LARGEST_JACKKNIFE))
    return np.array([metric.finish(evaluation.rows[group != g]) for g in range(int(group.max()) + 1)])


def _within(baseline: FloatArray, candidate: FloatArray, *, binary: bool) -> bool:
    """Whether all scores are 0 or 1, or at least within [0, 1]."""
    both = np.concatenate([baseline, candidate])
    return bool(np.isin(both, (0.0, 1.0)).all() if binary else (both >= 0).all() and (both <= 1).all())

"""Running a model over samples and scoring it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.data.samples import Indices, SampleSource
from autocompress.errors import MetricError
from autocompress.evaluate.batches import ModelSession, run_batches
from autocompress.evaluate.collect import OutputCollector
from autocompress.evaluate.evaluation import Evaluation, FloatArray, Verdict
from autocompress.evaluate.metrics import Metric, RowMetric, UserMetric
from autocompress.evaluate.reference import Reference, recorded_batches
from autocompress.evaluate.sequential import StopRule
from autocompress.evaluate.statistics import group_of

LEFT_OUT_GROUPS = 20
"""Groups of the jackknife for a user's set metric: 20 more calls of the function."""

_FEWEST_GROUPS = 5

_RECORDED_BATCH = 16

Batches = Iterable[tuple[npt.NDArray[np.int64], Mapping[str, npt.NDArray[Any]]]]


def evaluate(
    session: ModelSession,
    source: SampleSource,
    indices: Indices,
    metric: Metric,
    *,
    reference: Reference | None = None,
    batch_size: int = 1,
    stop: StopRule | None = None,
    left_out_groups: int = 0,
) -> Evaluation:
    """Value of a metric for a model, streamed: built-in metrics keep a few numbers per sample.

    Args:
        session: the loaded model.
        source: the samples.
        indices: which of them, in random order when ``stop`` is given.
        metric: what to measure.
        reference: the original's outputs, for metrics that are measured against them.
        batch_size: samples per run.
        stop: stops early once the outcome is clear (per-sample built-in metrics only; others run to the end).
        left_out_groups: for a user's set metric, how many times it is computed again with one group of samples left
            out, for the interval (see ``LEFT_OUT_GROUPS``); 0 where no interval is needed.

    Raises:
        CandidateFailed: when an output holds NaN or Inf.
        DataError: when samples or labels do not fit.
        MetricError: when the metric raises or gives no usable number.
        RuntimeFailure: when the runtime fails.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    batches = run_batches(session, source, wanted, batch_size)
    return _evaluate(batches, source, wanted, metric, reference, stop, left_out_groups)


def evaluate_reference(
    reference: Reference,
    source: SampleSource,
    indices: Indices,
    metric: Metric,
    *,
    left_out_groups: int = 0,
) -> Evaluation:
    """Value of a metric for the original model, from its recorded outputs: nothing is run again.

    Args and Raises: as for ``evaluate``.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    batches = recorded_batches(reference, wanted, _RECORDED_BATCH)
    return _evaluate(batches, source, wanted, metric, reference, None, left_out_groups)


def affordable_groups(metric_seconds: float, budget_s: float = 30.0) -> int:
    """How many groups to leave out so that the calls of a user's function take no more than ``budget_s``.

    The baseline and the candidates must be evaluated with the same number.

    Args:
        metric_seconds: of one call, from an earlier ``Evaluation``.
        budget_s: for all calls; at least 5 groups are left out whatever they take.
    """
    affordable = int(budget_s / metric_seconds) if metric_seconds > 0 else LEFT_OUT_GROUPS
    return max(_FEWEST_GROUPS, min(LEFT_OUT_GROUPS, affordable))


def _evaluate(
    batches: Batches,
    source: SampleSource,
    indices: npt.NDArray[np.int64],
    metric: Metric,
    reference: Reference | None,
    stop: StopRule | None,
    left_out_groups: int,
) -> Evaluation:
    if not len(indices):
        raise MetricError("There are no samples to evaluate.")
    started = time.perf_counter()
    if isinstance(metric, UserMetric):
        value, scores, left_out, metric_seconds = _user_value(batches, source, indices, metric, left_out_groups)
        seconds = time.perf_counter() - started
        return Evaluation(metric.name, value, indices, scores, None, left_out, None, seconds, metric_seconds)
    rows, verdict = _score_rows(batches, source, metric, reference, stop)
    value = metric.finish(rows)
    seen = indices[: len(rows)]
    seconds = time.perf_counter() - started
    if metric.per_sample:
        return Evaluation(metric.name, value, seen, rows[:, 0], None, None, verdict, seconds)
    return Evaluation(metric.name, value, seen, None, rows, None, verdict, seconds)


def _score_rows(
    batches: Batches, source: SampleSource, metric: RowMetric, reference: Reference | None, stop: StopRule | None
) -> tuple[FloatArray, Verdict | None]:
    rows: list[FloatArray] = []
    seen = 0
    look = stop.next_look(0) if stop is not None and metric.per_sample else None
    for batch, outputs in batches:
        rows.append(_scored(metric, outputs, _truth(metric, source, reference, batch), batch))
        seen += len(batch)
        if stop is not None and look is not None and seen >= look:
            verdict = stop.decide(np.concatenate(rows)[:, 0])
            if verdict is not None:
                return np.concatenate(rows), verdict
            look = stop.next_look(seen)
    return np.concatenate(rows), None


def _scored(metric: RowMetric, outputs: Mapping[str, Any], truth: Mapping[str, Any], batch: Any) -> FloatArray:
    for name in metric.outputs:
        if name not in outputs:
            raise MetricError(f"{metric.name} judges output '{name}', which the model does not have.")
        if not outputs[name].ndim or len(outputs[name]) != len(batch):
            raise MetricError(f"Output '{name}' {outputs[name].shape} is not split by samples: use a batch size of 1.")
    rows = metric.rows(outputs, truth)
    if not np.isfinite(rows).all():
        raise MetricError(f"{metric.name} is not finite at sample {batch[int(np.argmax(~np.isfinite(rows).all(1)))]}.")
    return rows


def _truth(
    metric: RowMetric, source: SampleSource, reference: Reference | None, batch: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[Any]]:
    if metric.needs_labels:
        return {"labels": source.labels(batch)}
    if reference is None:
        raise MetricError(f"{metric.name} is measured against the original model, whose outputs are not recorded.")
    return reference.outputs(batch, metric.outputs)


def _user_value(
    batches: Batches, source: SampleSource, indices: npt.NDArray[np.int64], metric: UserMetric, groups: int
) -> tuple[float, FloatArray | None, FloatArray | None, float]:
    """(value, scores or None, left-out values or None, seconds of one call) of a user's function."""
    with OutputCollector(len(indices)) as collector:
        for batch, outputs in batches:
            collector.add(outputs, len(batch))
        # Parts are copies and come first: the function may change what it is given.
        left_out = _left_out_values(collector.arrays, source, indices, metric, groups) if groups else None
        data = source.extras(indices)
        started = time.perf_counter()
        returned = metric(dict(collector.arrays), data, len(indices))
        seconds = time.perf_counter() - started
        if isinstance(returned, float):
            return returned, None, left_out, seconds
        return float(returned.mean()), returned, None, seconds


def _left_out_values(
    outputs: Mapping[str, npt.NDArray[Any]],
    source: SampleSource,
    indices: npt.NDArray[np.int64],
    metric: UserMetric,
    groups: int,
) -> FloatArray | None:
    """Values with each group left out; None when the function gives a score per sample."""
    group = group_of(len(indices), min(groups, len(indices)))
    values = []
    for g in range(int(group.max()) + 1):
        kept = np.flatnonzero(group != g)
        value = metric(
            {name: output[kept] for name, output in outputs.items()}, source.extras(indices[kept]), len(kept)
        )
        if not isinstance(value, float):
            return None
        values.append(value)
    return np.array(values)

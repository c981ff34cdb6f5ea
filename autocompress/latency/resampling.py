"""Measures further operators where forests err on what takes models' time.

Each round draws operators of the table with probability in proportion to

    relative error of a forest that did not see it * share of the models' time that it takes,

builds layers like them with other channels, planes and windows, measures those, and fits the forests again.  The
error is judged on the operators that were there at the beginning; when it no longer falls, the table has what it needs.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from autocompress.errors import CandidateFailed, RuntimeFailure
from autocompress.latency.bench import Bench
from autocompress.latency.forest import records_by_family
from autocompress.latency.held_out import held_out_predictions
from autocompress.latency.journal import TableFile
from autocompress.latency.record import LatencyRecord
from autocompress.latency.roofline import Roofline
from autocompress.latency.surveyor import LocalSurveyor, Surveyor
from autocompress.latency.table import LatencyTable
from autocompress.latency.zoo.layers import Layer, layer_of
from autocompress.progress import NullProgress, Progress
from autocompress.runtimes.protocol import Runtime

_DRAWN_PER_ROUND = 32
_LAYERS_PER_NETWORK = 4
_WORTHWHILE = 0.99  # a round that leaves more of the error than this has not helped
_PATIENCE = 2  # rounds in a row that may not help


@dataclass(frozen=True)
class ResamplingOutcome:
    """What resampling did.

    Attributes:
        table: the table with everything measured so far.
        measured: operators measured now.
        invalid: operators among them whose times must not be used.
        errors: relative error of operators that forests did not see, weighted by their share of models' time: before,
            and after each round.
        seconds: wall time.
        refusal: why it ended early, or did not begin: the device was disturbed; None otherwise.
    """

    table: LatencyTable
    measured: int
    invalid: int
    errors: tuple[float, ...]
    seconds: float
    refusal: str | None = None


def resample(
    runtime: Runtime,
    file: TableFile,
    *,
    threads: int = 1,
    budget_s: float | None = None,
    most_rounds: int = 20,
    seed: int = 0,
    progress: Progress | None = None,
    surveyor: Surveyor | None = None,
) -> ResamplingOutcome:
    """Adds operators to a table where that makes its forests better.

    Args:
        runtime: what executes them.
        file: the table; the zoo should be in it.
        threads: intra-op threads.
        budget_s: wall seconds after which nothing further is begun; None for as long as it helps.
        most_rounds: rounds after which it ends though it still helps.
        seed: of what is drawn; the same seed and table give the same layers.
        progress: told about each round.
        surveyor: what times the layers into the same file; in this process when left out.

    Raises:
        TableError: when the table is damaged, or lacks the device's constants.
        StorageError: when it cannot be written.
    """
    progress = progress or NullProgress()
    start = time.perf_counter()
    progress.stage("sample where forests err", total=most_rounds, limit_s=budget_s)
    surveyor = surveyor or LocalSurveyor(Bench(runtime, file, threads=threads))
    refusal = surveyor.begin()
    judge, rng = _Judge(file.load(), seed), np.random.default_rng(seed)
    errors, measured, invalid = [judge.error()], 0, 0
    # The last round is judged, too.
    end = np.inf if budget_s is None else start + budget_s - judge.seconds
    while refusal is None and time.perf_counter() < end and _goes_on(errors, most_rounds):
        for layers in _networks(judge.draw(rng), rng):
            if refusal is not None or time.perf_counter() >= end:
                break
            # A width that the runtime has no kernel for teaches nothing.
            with suppress(RuntimeFailure, CandidateFailed):
                step = surveyor.time_layers(layers, seed)
                measured, invalid, refusal = measured + step.measured, invalid + step.invalid, step.refusal
            progress.detail(f"{measured:,} operators, weighted error {100 * errors[-1]:.2f} %")
        judge.look_again(file.load())
        errors.append(judge.error())
        progress.advance()
    return ResamplingOutcome(file.compact(), measured, invalid, tuple(errors), time.perf_counter() - start, refusal)


class _Judge:
    """Says how far forests are off, operator by operator, and which operators deserve company.

    Args:
        table: its valid records are what errors are judged on from now on.
        seed: of the forests.

    Attributes:
        seconds: what the latest look took.
    """

    def __init__(self, table: LatencyTable, seed: int) -> None:
        self.seconds = 0.0
        self._seed = seed
        self._judged = {record.signature.key: record for record in table if record.valid}
        self._shares = _shares(table)
        self._errors: dict[str, float] = {}
        self.look_again(table)

    def look_again(self, table: LatencyTable) -> None:
        """Fits forests on what the table holds now; no forest sees the operators it is judged on."""
        start = time.perf_counter()
        roofline = Roofline.from_constants(table.header.constants)
        predicted = held_out_predictions(records_by_family(table, roofline), {}, seed=self._seed)
        for key, record in self._judged.items():
            if key in predicted:
                self._errors[key] = _relative_error(record, predicted[key].log_us)
        self.seconds = time.perf_counter() - start

    def error(self) -> float:
        """Mean relative error, weighted by share of models' time."""
        return sum(self._weight(key) for key in self._judged)

    def draw(self, rng: np.random.Generator) -> list[Layer]:
        """Layers like the operators that contribute most to the error."""
        layers = {key: layer for key, r in self._judged.items() if (layer := layer_of(r.signature)) is not None}
        weights = np.asarray([self._weight(key) for key in layers])
        if not weights.sum() > 0:
            return []
        chosen = rng.choice(len(weights), _DRAWN_PER_ROUND, p=weights / weights.sum())
        candidates = list(layers.values())
        return [candidates[i].varied(rng) for i in chosen]

    def _weight(self, key: str) -> float:
        return self._errors.get(key, 0.0) * self._shares.get(key, 0.0)


def _goes_on(errors: Sequence[float], most_rounds: int) -> bool:
    if len(errors) > most_rounds:
        return False
    before = errors[: max(1, len(errors) - _PATIENCE)]
    return len(errors) <= _PATIENCE or min(errors[len(before) :]) <= _WORTHWHILE * min(before)


def _shares(table: LatencyTable) -> dict[str, float]:
    """Share of the models' time that each operator takes, on average over models; they add up to about one."""
    counts: list[Mapping[str, int]] = [model.operators for model in table.models.values() if model.operators]
    times = {record.signature.key: record.minimum_us for record in table if record.valid}
    shares: dict[str, float] = defaultdict(float)
    # A table without whole models counts as one model that has each operator once.
    for operators in counts or [dict.fromkeys(times, 1)]:
        total = sum(times.get(key, 0.0) * count for key, count in operators.items())
        for key, count in operators.items():
            if key in times:
                shares[key] += times[key] * count / total / max(len(counts), 1)
    return shares


def _relative_error(record: LatencyRecord, predicted_log_us: float) -> float:
    """At most 1: one operator that is priced absurdly must not draw all attention."""
    return min(abs(float(np.expm1(predicted_log_us - np.log(record.minimum_us)))), 1.0)


def _networks(layers: Sequence[Layer], rng: np.random.Generator) -> Iterator[list[Layer]]:
    """Layers of one arithmetic, a few at a time, the arithmetics taking turns by chance."""
    groups: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        groups[layer.arithmetic].append(layer)
    parts = [
        group[i : i + _LAYERS_PER_NETWORK]
        for _, group in sorted(groups.items())
        for i in range(0, len(group), _LAYERS_PER_NETWORK)
    ]
    for i in rng.permutation(len(parts)):
        yield parts[i]

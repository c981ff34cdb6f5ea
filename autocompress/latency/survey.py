"""Fills a device's table from the zoo, and times whole zoo models for the composition."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autocompress.errors import RuntimeFailure, TableError
from autocompress.latency.composition import ObservedModel
from autocompress.latency.families import family_of
from autocompress.latency.journal import TableFile
from autocompress.latency.profile import measure_op
from autocompress.latency.steadiness import Steadiness
from autocompress.latency.table import LatencyTable
from autocompress.latency.whole_models import append_model, load_models, observe
from autocompress.latency.zoo.catalogue import Architecture, zoo_models
from autocompress.latency.zoo.network import Variant
from autocompress.progress import NullProgress, Progress
from autocompress.runtimes.protocol import ExecutedOp, Feeds, Runtime, Session, SessionOptions
from autocompress.runtimes.timing import time_session

_MODEL_SLICES, _SLICE_S = 5, 0.15
_FEWEST_REPEATS = 3
_PATIENCE_S = 1.0
_UNSTABLE = 1.5
# Mixed models have many conversions alike; more of them teach a forest nothing.
_FAMILY_LIMIT = 800


@dataclass(frozen=True)
class SurveyOutcome:
    """What a survey did.

    Attributes:
        table: the table with everything measured so far.
        models: whole models observed so far.
        complete: whether the whole zoo was covered.
        seconds: wall time.
    """

    table: LatencyTable
    models: tuple[ObservedModel, ...]
    complete: bool
    seconds: float


def survey(
    runtime: Runtime,
    file: TableFile,
    *,
    threads: int = 1,
    budget_s: float | None = None,
    again: bool = False,
    progress: Progress | None = None,
    models: Iterable[tuple[Architecture, Variant]] | None = None,
) -> SurveyOutcome:
    """Times the operators and the whole models of the zoo that are not there yet; interrupt and repeat at will.

    Args:
        runtime: what executes them.
        file: the table to fill.
        threads: intra-op threads.
        budget_s: wall seconds after which no further model is begun; None for no limit.
        again: whether to measure again what is there already; of two times the faster counts.
        progress: told about each model.
        models: architectures and variants; the whole zoo when left out.

    Raises:
        TableError: when the table is damaged, or the device too disturbed to be measured.
        StorageError: when it cannot be written.
    """
    progress = progress or NullProgress()
    start = time.perf_counter()
    table, observed = file.load(), load_models(file.path)
    surveyor = _Surveyor(runtime, file, table, threads, again)
    surveyor.refuse_unstable_clock()
    wanted = list(models if models is not None else zoo_models())
    progress.stage("survey the zoo", total=len(wanted), limit_s=budget_s)
    complete = True
    for architecture, variant in wanted:
        if budget_s is not None and time.perf_counter() - start >= budget_s:
            complete = False
            break
        name = f"{architecture.name}/{variant.name}"
        if again or name not in observed:
            try:
                observed[name] = surveyor.observe(architecture, variant, observed.get(name))
                append_model(file.path, name, observed[name])
            except RuntimeFailure as error:
                progress.notice(f"{name} left out of the survey: {error}")
        progress.advance()
    return SurveyOutcome(file.compact(), tuple(observed.values()), complete, time.perf_counter() - start)


class _Surveyor:
    """Times the operators of one model after the other that the table lacks, and the models themselves."""

    def __init__(self, runtime: Runtime, file: TableFile, table: LatencyTable, threads: int, again: bool) -> None:
        self._runtime = runtime
        self._file = file
        self._table = table
        self._threads = threads
        self._again = again
        self._done: set[str] = set()
        self._steadiness = Steadiness(runtime, threads)

    def refuse_unstable_clock(self) -> None:
        slowdown = self._steadiness.usual_slowdown()
        if slowdown > _UNSTABLE:
            raise TableError(
                f"the device is too disturbed to be profiled: equal work usually takes {slowdown:.1f} times its best; "
                f"stop other programs and profile again"
            )

    def observe(self, architecture: Architecture, variant: Variant, known: ObservedModel | None) -> ObservedModel:
        model = architecture.build(variant)
        feeds = {"x": np.abs(np.random.default_rng(0).standard_normal(architecture.input)).astype(np.float32)}
        ops = self._runtime.executed_ops(model, feeds, threads=self._threads)
        session = self._runtime.load(model, SessionOptions(threads=self._threads))
        todo = self._worth_measuring(ops)
        slices_us = [known.latency_us] if known is not None else []
        # The model is timed in slices between its operators, so that no single disturbance covers all of them.
        for part in range(_MODEL_SLICES):
            slices_us.append(self._time_model(session, feeds))
            for op in todo[part::_MODEL_SLICES]:
                self._measure(op)
        return observe(architecture.family, ops, self._table, min(slices_us))

    def _time_model(self, session: Session, feeds: Feeds) -> float:
        self._steadiness.wait(_PATIENCE_S)
        return 1e3 * time_session(session, feeds, budget_s=_SLICE_S, min_repeats=_FEWEST_REPEATS).latency_ms

    def _measure(self, op: ExecutedOp) -> None:
        record = measure_op(
            self._runtime,
            op,
            self._file,
            known=self._table.find(op.signature),
            threads=self._threads,
            steadiness=self._steadiness,
        )
        self._done.add(op.signature.key)
        self._table.add(record)

    def _worth_measuring(self, ops: Sequence[ExecutedOp]) -> list[ExecutedOp]:
        """One operator per signature: those to measure again, and those the table lacks while its family has room."""
        counts = Counter(family_of(record.signature) for record in self._table)
        distinct = {op.signature.key: op for op in reversed(ops) if op.signature.key not in self._done}
        return [
            op
            for op in distinct.values()
            if (self._again and op.signature in self._table)
            or (op.signature not in self._table and counts[family_of(op.signature)] < _FAMILY_LIMIT)
        ]

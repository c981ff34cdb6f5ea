"""Measures what a model needs and a table lacks, by the slope over copies or in place, as the runtime can."""

from __future__ import annotations

import datetime
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from autocompress.latency.bench import Bench
from autocompress.latency.device import identify_device
from autocompress.latency.header import IN_PLACE, SLOPE, TableHeader
from autocompress.latency.journal import TableFile
from autocompress.latency.roofline import Roofline, measure_roofline
from autocompress.latency.table import LatencyTable
from autocompress.progress import NullProgress, Progress
from autocompress.runtimes.protocol import ExecutedOp, Feeds, InPlaceRuntime, Runtime


@dataclass(frozen=True)
class ProfileOutcome:
    """What a profile did.

    Attributes:
        table: the table with everything measured so far.
        measured: operators measured now.
        invalid: operators among them whose times must not be used.
        left: distinct operators that it did not reach.
        seconds: wall time.
        refusal: why it ended early, or did not begin, though time was left: the device was disturbed; None otherwise.
    """

    table: LatencyTable
    measured: int
    invalid: int
    left: int
    seconds: float
    refusal: str | None = None


def profile_model(
    runtime: Runtime,
    model: bytes | str,
    feeds: Feeds,
    file: TableFile,
    *,
    known: LatencyTable | None = None,
    threads: int = 1,
    budget_s: float | None = None,
    progress: Progress | None = None,
) -> ProfileOutcome:
    """Times every distinct operator of a model that neither ``file`` nor ``known`` has, and keeps each at once.

    Args:
        runtime: what executes the model.
        model: serialized model, or a path.
        feeds: one array per input.
        file: where records go.
        known: a further table (one that ships) whose operators need not be measured.
        threads: intra-op threads.
        budget_s: wall seconds after which nothing further is begun; None for no limit.
        progress: told about each operator.

    Raises:
        RuntimeFailure: when the runtime refuses the model.
        TableError: when the file is damaged or about something else.
        StorageError: when it cannot be written.
    """
    profile = Profile(runtime, file, known=known, threads=threads)
    profile.want(model, feeds)
    return profile.measure(budget_s=budget_s, progress=progress)


def profile_ops(
    runtime: Runtime,
    ops: Iterable[ExecutedOp],
    file: TableFile,
    *,
    known: LatencyTable | None = None,
    threads: int = 1,
    budget_s: float | None = None,
    progress: Progress | None = None,
) -> ProfileOutcome:
    """``profile_model`` for operators that were cut out already; those without standalone model become invalid."""
    profile = Profile(runtime, file, known=known, threads=threads)
    profile.want_ops(list(ops))
    return profile.measure(budget_s=budget_s, progress=progress)


@dataclass(frozen=True)
class _Step:
    """One thing to time: the operators that are known after it, how often they occur, and how to time it."""

    ops: Mapping[str, ExecutedOp]
    repeats: Mapping[str, int]
    take: Callable[[], object]

    def bound_us(self, roofline: Roofline | None) -> float:
        """At least what the operators take of a model."""
        if roofline is None:
            return 0.0
        return sum(roofline.bound_us(op.signature) * self.repeats[key] for key, op in self.ops.items())


class Profile:
    """Gathers what several models need and measures it, the most costly first.

    Args:
        runtime: what executes the models.
        file: where records go.
        known: a further table (one that ships) whose operators need not be measured.
        threads: intra-op threads.

    Raises:
        TableError: when the file is damaged or about something else.
    """

    def __init__(
        self, runtime: Runtime, file: TableFile, *, known: LatencyTable | None = None, threads: int = 1
    ) -> None:
        self._bench = Bench(runtime, file, known=known, threads=threads)
        self._steps: list[_Step] = []
        self._left: set[str] = set()

    def want(self, model: bytes | str, feeds: Feeds) -> None:
        """Adds what a model needs.

        Raises:
            RuntimeFailure: when the runtime refuses the model.
        """
        bench = self._bench
        ops = bench.runtime.executed_ops(model, feeds, threads=bench.threads, standalone=not bench.in_place)
        if not bench.in_place:
            self.want_ops(ops)
        elif not (missing := bench.lacks(ops)).keys() <= self._left:
            self._add(missing, ops, lambda: bench.time_model(model, feeds))

    def want_ops(self, ops: Sequence[ExecutedOp]) -> None:
        """Adds operators to be timed alone."""
        for key, op in self._bench.lacks(ops).items():
            if key not in self._left:
                self._add({key: op}, ops, lambda op=op: self._bench.time_op(op))  # type: ignore[misc]

    def _add(self, missing: Mapping[str, ExecutedOp], ops: Sequence[ExecutedOp], take: Callable[[], object]) -> None:
        self._steps.append(_Step(missing, Counter(op.signature.key for op in ops), take))
        self._left |= missing.keys()

    def measure(self, *, budget_s: float | None = None, progress: Progress | None = None) -> ProfileOutcome:
        """Measures what is wanted until the budget ends or the device becomes too disturbed.

        Raises:
            RuntimeFailure: when the runtime fails on a whole model.
            StorageError: when the file cannot be written.
        """
        progress = progress or NullProgress()
        start = time.perf_counter()
        progress.stage("profile operators", total=len(self._left), limit_s=budget_s)
        refusal = self._bench.begin() if self._left else None
        for step in self._by_cost():
            if refusal is not None or (budget_s is not None and time.perf_counter() - start >= budget_s):
                break
            reached = step.ops.keys() & self._left
            if reached:
                step.take()
                self._left -= reached
                progress.advance(len(reached))
                progress.detail(f"{self._bench.per_second:.1f} per second")
            refusal = self._bench.lasting_refusal()
        measured, invalid = self._bench.measured, self._bench.invalid
        if invalid:
            progress.notice(f"{invalid} of {measured} operators could not be timed; their records say why")
        return ProfileOutcome(
            self._bench.close(), measured, invalid, len(self._left), time.perf_counter() - start, refusal
        )

    def _by_cost(self) -> list[_Step]:
        """The steps, most costly first, so that a short budget goes where most of the time is."""
        constants = self._bench.table.header.constants
        roofline = Roofline.from_constants(constants) if constants else None
        return sorted(self._steps, key=lambda step: -step.bound_us(roofline))


def new_header(
    runtime: Runtime, threads: int, *, constants: Mapping[str, float] | None = None, command: str | None = None
) -> TableHeader:
    """The header of a table profiled here and now; ``constants`` are left empty until measured."""
    clock = "replay" if runtime.name == "replay" else "cpu" if threads == 1 else "wall"
    return TableHeader(
        device=identify_device(),
        runtime=runtime.name,
        runtime_version=runtime.version,
        threads=threads,
        clock=clock,
        date=datetime.date.today().isoformat(),
        command=command if command is not None else _command(),
        constants=constants or {},
        method=IN_PLACE if isinstance(runtime, InPlaceRuntime) else SLOPE,
    )


def with_constants(runtime: Runtime, header: TableHeader) -> TableHeader:
    """The header with the device's roofline constants, measured now if it has none."""
    if header.constants:
        return header
    constants = measure_roofline(runtime, header.threads).to_constants()
    return new_header(runtime, header.threads, constants=constants, command=header.command)


def _command() -> str:
    name = sys.argv[0].rsplit("/", 1)[-1] or "python"
    return shlex.join([name, *(a.rsplit("/", 1)[-1] for a in sys.argv[1:])])

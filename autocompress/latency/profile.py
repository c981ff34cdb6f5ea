"""Measures the operators that a table does not have yet."""

from __future__ import annotations

import datetime
import shlex
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autocompress.errors import RuntimeFailure
from autocompress.latency.device import identify_device
from autocompress.latency.journal import TableFile
from autocompress.latency.record import LatencyRecord
from autocompress.latency.roofline import measure_roofline
from autocompress.latency.slope import time_operator
from autocompress.latency.steadiness import Steadiness
from autocompress.latency.table import LatencyTable, TableHeader
from autocompress.progress import NullProgress, Progress
from autocompress.runtimes.protocol import ExecutedOp, Runtime

_SECONDS_PER_OPERATOR = 0.05


@dataclass(frozen=True)
class ProfileOutcome:
    """What a profile did.

    Attributes:
        table: the table with everything measured so far.
        measured: operators measured now.
        invalid: operators among them whose times must not be used.
        left: distinct operators that the budget did not reach.
        seconds: wall time.
    """

    table: LatencyTable
    measured: int
    invalid: int
    left: int
    seconds: float


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
    )


def profile_ops(
    runtime: Runtime,
    ops: Iterable[ExecutedOp],
    file: TableFile,
    *,
    known: LatencyTable | None = None,
    threads: int = 1,
    budget_s: float | None = None,
    progress: Progress | None = None,
    seconds_per_operator: float = _SECONDS_PER_OPERATOR,
) -> ProfileOutcome:
    """Times every distinct operator that neither ``file`` nor ``known`` has, and keeps each at once.

    Args:
        runtime: what executes them.
        ops: executed operators with standalone models; those without are recorded as invalid.
        file: where records go.
        known: a further table (one that ships) whose operators need not be measured.
        threads: intra-op threads.
        budget_s: wall seconds after which no further operator is begun; None for no limit.
        progress: told about each operator.
        seconds_per_operator: running time to spend on one operator.

    Raises:
        TableError: when the file is damaged or about something else.
        StorageError: when it cannot be written.
    """
    progress = progress or NullProgress()
    start = time.perf_counter()
    table = file.load()
    todo = [op for op in _distinct(ops) if not _is_known(op, table, known)]
    progress.stage("profile operators", total=len(todo), limit_s=budget_s)
    measured = invalid = 0
    steadiness = _steadiness(runtime, threads) if todo else None
    for op in todo:
        if budget_s is not None and time.perf_counter() - start >= budget_s:
            break
        record = measure_op(runtime, op, file, threads=threads, seconds=seconds_per_operator, steadiness=steadiness)
        measured += 1
        invalid += not record.valid
        progress.advance()
    if invalid:
        progress.notice(f"{invalid} of {measured} operators could not be timed; their records say why")
    table = file.compact() if measured else table
    return ProfileOutcome(table, measured, invalid, len(todo) - measured, time.perf_counter() - start)


def measure_op(
    runtime: Runtime,
    op: ExecutedOp,
    file: TableFile,
    *,
    known: LatencyRecord | None = None,
    threads: int = 1,
    seconds: float = _SECONDS_PER_OPERATOR,
    steadiness: Steadiness | None = None,
) -> LatencyRecord:
    """Times one operator, puts its record on disk at once and returns it.

    Args:
        runtime: what executes it.
        op: the operator.
        file: where the record goes.
        known: an earlier record of the same operator; of two valid ones the faster counts.
        threads: intra-op threads.
        seconds: running time to spend.
        steadiness: watches the device.

    Raises:
        StorageError: when the file cannot be written.
    """
    record = _measured(runtime, op, threads, seconds, steadiness)
    if known is not None and known.valid and (not record.valid or record.minimum_us >= known.minimum_us):
        return known
    file.append(record)
    return record


def _steadiness(runtime: Runtime, threads: int) -> Steadiness | None:
    """None where the runtime cannot even run the reference work: then operators say themselves what is wrong."""
    try:
        return Steadiness(runtime, threads)
    except RuntimeFailure:
        return None


def with_constants(runtime: Runtime, header: TableHeader) -> TableHeader:
    """The header with the device's roofline constants, measured now if it has none."""
    if header.constants:
        return header
    constants = measure_roofline(runtime, header.threads).to_constants()
    return new_header(runtime, header.threads, constants=constants, command=header.command)


def _distinct(ops: Iterable[ExecutedOp]) -> list[ExecutedOp]:
    """One operator per signature, one with a standalone model where there is one."""
    chosen: dict[str, ExecutedOp] = {}
    for op in ops:
        have = chosen.get(op.signature.key)
        if have is None or (have.standalone is None and op.standalone is not None):
            chosen[op.signature.key] = op
    return list(chosen.values())


def _is_known(op: ExecutedOp, table: LatencyTable, known: LatencyTable | None) -> bool:
    return table.find(op.signature) is not None or (known is not None and known.find(op.signature) is not None)


def _measured(
    runtime: Runtime, op: ExecutedOp, threads: int, seconds: float, steadiness: Steadiness | None
) -> LatencyRecord:
    try:
        timing = time_operator(runtime, op, threads=threads, budget_s=seconds, steadiness=steadiness)
    except RuntimeFailure as error:
        return LatencyRecord(op.signature, 0.0, 0.0, 0.0, 0, str(error))
    return LatencyRecord(
        op.signature, timing.median_us, timing.minimum_us, timing.spread_us, timing.repeats, timing.invalid_reason
    )


def _command() -> str:
    name = sys.argv[0].rsplit("/", 1)[-1] or "python"
    return shlex.join([name, *(a.rsplit("/", 1)[-1] for a in sys.argv[1:])])

"""Fills a device's table from the zoo, and times whole zoo models for the composition."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from autocompress.errors import RuntimeFailure, StorageError, TableError
from autocompress.latency.composition import ObservedModel, streamed_mbytes
from autocompress.latency.families import family_of
from autocompress.latency.journal import TableFile
from autocompress.latency.profile import measure_op
from autocompress.latency.table import LatencyTable
from autocompress.latency.zoo.catalogue import Architecture, zoo_models
from autocompress.latency.zoo.network import Variant
from autocompress.progress import NullProgress, Progress
from autocompress.runtimes.protocol import ExecutedOp, Runtime, SessionOptions
from autocompress.runtimes.timing import time_session

_MODEL_SECONDS = 1.0
_FEWEST_REPEATS = 7
# Mixed models have many conversions alike; more of them teach a forest nothing.
_FAMILY_LIMIT = 700


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


def models_path(table: Path) -> Path:
    """Where the whole models observed beside a table are kept."""
    return table.with_suffix(".models.jsonl")


def survey(
    runtime: Runtime,
    file: TableFile,
    *,
    threads: int = 1,
    budget_s: float | None = None,
    progress: Progress | None = None,
    models: Iterable[tuple[Architecture, Variant]] | None = None,
) -> SurveyOutcome:
    """Times the operators and the whole models of the zoo that are not there yet; interrupt and repeat at will.

    Args:
        runtime: what executes them.
        file: the table to fill.
        threads: intra-op threads.
        budget_s: wall seconds after which no further model is begun; None for no limit.
        progress: told about each model.
        models: architectures and variants; the whole zoo when left out.

    Raises:
        TableError: when the table is damaged.
        StorageError: when it cannot be written.
    """
    progress = progress or NullProgress()
    start = time.perf_counter()
    wanted = list(models if models is not None else zoo_models())
    observed = dict(_observed(models_path(file.path)))
    table = file.load()
    progress.stage("survey the zoo", total=len(wanted), limit_s=budget_s)
    complete = True
    for architecture, variant in wanted:
        name = f"{architecture.name}/{variant.name}"
        if budget_s is not None and time.perf_counter() - start >= budget_s:
            complete = False
            break
        if name not in observed:
            try:
                observed[name] = _survey_model(runtime, file, table, architecture, variant, threads)
                _append(models_path(file.path), name, observed[name])
            except RuntimeFailure as error:
                progress.notice(f"{name} left out of the survey: {error}")
        progress.advance()
    return SurveyOutcome(file.compact(), tuple(observed.values()), complete, time.perf_counter() - start)


def _survey_model(
    runtime: Runtime,
    file: TableFile,
    table: LatencyTable,
    architecture: Architecture,
    variant: Variant,
    threads: int,
) -> ObservedModel:
    """Times the operators of one model that ``table`` lacks, adds them to it, and times the model before and after."""
    model = architecture.build(variant)
    rng = np.random.default_rng(0)
    feeds = {"x": np.abs(rng.standard_normal(architecture.input)).astype(np.float32)}
    ops = runtime.executed_ops(model, feeds, threads=threads)
    session = runtime.load(model, SessionOptions(threads=threads))
    before = time_session(session, feeds, budget_s=_MODEL_SECONDS / 2, min_repeats=_FEWEST_REPEATS)
    for op in _worth_measuring(ops, table):
        table.add(measure_op(runtime, op, file, threads=threads))
    after = time_session(session, feeds, budget_s=_MODEL_SECONDS / 2, min_repeats=_FEWEST_REPEATS)
    fastest_us = 1e3 * min(before.minimum_ms, after.minimum_ms)
    return observe(architecture.family, ops, table, fastest_us)


def observe(family: str, ops: Sequence[ExecutedOp], table: LatencyTable, latency_us: float) -> ObservedModel:
    """A measured model as the composition sees it; operators that the table lacks count as the others of their kind."""
    times = [(family_of(op.signature), table.find(op.signature)) for op in ops]
    known: dict[str, list[float]] = {}
    for kind, record in times:
        if record is not None:
            known.setdefault(kind, []).append(record.minimum_us)
    typical = {kind: float(np.median(values)) for kind, values in known.items()}
    total = sum(record.minimum_us if record is not None else typical.get(kind, 0.0) for kind, record in times)
    missing = sum(record is None for _, record in times)
    return ObservedModel(
        family=family,
        operators_us=total,
        nodes=len(ops),
        streamed_mbytes=sum(streamed_mbytes(op.signature) for op in ops),
        latency_us=latency_us,
        missing=missing,
    )


def _worth_measuring(ops: Sequence[ExecutedOp], table: LatencyTable) -> list[ExecutedOp]:
    """One operator per signature that the table lacks, of families that are not full yet."""
    counts = Counter(family_of(record.signature) for record in table)
    missing = {op.signature.key: op for op in reversed(ops) if op.signature not in table}
    return [op for op in missing.values() if counts[family_of(op.signature)] < _FAMILY_LIMIT]


def load_observed(table: Path) -> list[ObservedModel]:
    """Whole models observed beside a table.

    Raises:
        TableError: when the file is damaged.
    """
    return [model for _, model in _observed(models_path(table))]


def _observed(path: Path) -> list[tuple[str, ObservedModel]]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append((str(row.pop("model")), ObservedModel(**row)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if number == len(lines):
                break  # a process died while writing; the model is timed again
            raise TableError(f"{path.name} line {number} is damaged ({error}); remove it") from error
    return rows


def _append(path: Path, name: str, model: ObservedModel) -> None:
    row = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in asdict(model).items()}
    try:
        with path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # a process that died while writing leaves half a line
            file.write(json.dumps({"model": name, **row}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"cannot write {path.name}: {error.strerror or error}") from error

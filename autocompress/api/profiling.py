"""``profile``: fills the latency tables of this device, from the built-in zoo or for one model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from autocompress.api.feeds import bound_model, random_feeds
from autocompress.api.variants import model_variants
from autocompress.api.zoo_forms import zoo_quantizer
from autocompress.errors import ConfigError, ModelError, RuntimeFailure, TableError
from autocompress.graph.model import load_model, model_bytes
from autocompress.latency.header import TableHeader
from autocompress.latency.journal import TableFile
from autocompress.latency.locate import cached_table_path, shipped_table, user_cache
from autocompress.latency.profile import Profile, new_header
from autocompress.latency.resampling import resample
from autocompress.latency.survey import survey
from autocompress.latency.table import LatencyTable
from autocompress.latency.zoo.catalogue import zoo_models
from autocompress.progress import NullProgress, Progress
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import Runtime

Shapes = Mapping[str, tuple[int, ...]]


def profile(
    model: str | Path | None = None,
    *,
    runtime: str = "onnxruntime",
    threads: int | Sequence[int] = 1,
    shapes: Shapes | None = None,
    batch_size: int = 1,
    budget_s: float | None = None,
    output: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Times operators on this device and keeps them in its latency table; interrupting loses nothing measured.

    Args:
        model: time the operators of this model and of its compressed forms; None times the built-in zoo.
        runtime: name of the runtime.
        threads: intra-op threads; for several numbers one table each is filled, one after the other.
        shapes: sizes of dynamic inputs.
        batch_size: samples per run.
        budget_s: seconds to spend on measuring for all tables together, after which nothing further is begun.
        output: table file, or a folder that exists and gets a file per table; such a table stands on its own.  This
            user's own table for this device by default, which adds to the one that ships.
        progress: told about each operator.

    Returns:
        ``device``, ``tables``, ``seconds`` and ``notices``.  Of each table ``table``, ``threads``, ``records``,
        ``measured``, ``invalid``, ``remaining`` (operators, or models of the zoo, that were not reached), ``forms``
        (compressed forms whose operators it has, the model itself included, or whole models of the zoo) and
        ``seconds``.

    Raises:
        UserError: when the model or the table cannot be used, or the device is too disturbed to be timed.
    """
    start = time.perf_counter()
    engine, watching = get_runtime(runtime), progress or NullProgress()
    counts = (threads,) if isinstance(threads, int) else tuple(threads)
    places = [_place(engine, count, output, len(counts), watching) for count in counts]
    variants = None if model is None else _bound_variants(model, engine.name, shapes or {}, batch_size)
    fillings = []
    for position, place in enumerate(places):
        spent_s = time.perf_counter() - start
        # What is left is shared evenly, so that the first table does not starve the others.
        budget = None if budget_s is None else max(budget_s - spent_s, 0.0) / (len(places) - position)
        filled = _fill_from_zoo if variants is None else variants.fill
        fillings.append(filled(place, budget, watching))
    notices = [notice for filling in fillings for notice in filling.notices]
    refusals = [filling.refusal for filling in fillings if filling.refusal is not None]
    measured = [filling.row["table"] for filling in fillings if filling.row["measured"]]
    if refusals and not measured:
        raise TableError(refusals[0])
    if model is None:
        notices += [_train(Path(table), watching) for table in measured]
    return {
        "device": f"{places[0].header.device.name} ({places[0].header.device.fingerprint})",
        "tables": [filling.row for filling in fillings],
        "seconds": time.perf_counter() - start,
        "notices": list(dict.fromkeys([*refusals, *notices])),
    }


@dataclass(frozen=True)
class _Place:
    """One table to fill, and what need not be measured because another has it."""

    runtime: Runtime
    header: TableHeader
    file: TableFile
    known: LatencyTable | None


@dataclass(frozen=True)
class _Filling:
    """What was done to one table."""

    row: dict[str, Any]
    refusal: str | None
    notices: list[str] = field(default_factory=list)


def _place(runtime: Runtime, threads: int, output: str | Path | None, tables: int, progress: Progress) -> _Place:
    header = new_header(runtime, threads)
    if output is None:
        shipped = shipped_table(header)
        file = TableFile(cached_table_path(header), header, progress.notice)
        return _Place(runtime, header, file, None if shipped is None else shipped.table)
    path = Path(output)
    if path.is_dir():
        path = path / f"{header.stem}.jsonl"
    elif tables > 1:
        raise ConfigError(f"{path} cannot hold {tables} tables; give --output a folder that exists")
    return _Place(runtime, header, TableFile(path, header, progress.notice), None)


@dataclass(frozen=True)
class _Variants:
    """A model and its compressed forms, ready to be profiled into any number of tables."""

    models: tuple[onnx.ModelProto, ...]

    def fill(self, place: _Place, budget_s: float | None, progress: Progress) -> _Filling:
        """Measures what the forms need."""
        start = time.perf_counter()
        progress.stage("look at the compressed forms", total=len(self.models))
        wanted = Profile(place.runtime, place.file, known=place.known, threads=place.header.threads)
        notices = [] if len(self.models) > 1 else ["this runtime can run no operator of the model in int8"]
        forms = 0
        for number, model in enumerate(self.models):
            try:
                wanted.want(model_bytes(model), random_feeds(model))
                forms += 1
            except RuntimeFailure as error:
                if number == 0:
                    raise ModelError(f"the runtime cannot run the model: {error}") from error
                notices.append(f"a compressed form was left out: {error}")
            progress.advance()
        remaining_s = None if budget_s is None else max(budget_s - (time.perf_counter() - start), 0.0)
        outcome = wanted.measure(budget_s=remaining_s, progress=progress)
        row = _row(place, outcome.table, outcome.measured, outcome.invalid, outcome.left, time.perf_counter() - start)
        return _Filling({**row, "forms": forms}, outcome.refusal, notices)


def _bound_variants(model: str | Path, runtime: str, shapes: Shapes, batch_size: int) -> _Variants:
    return _Variants(tuple(bound_model(v, shapes, batch_size) for v in model_variants(load_model(model), runtime)))


def _fill_from_zoo(place: _Place, budget_s: float | None, progress: Progress) -> _Filling:
    """Times the zoo, then, in the time that is left, what forests err on."""
    from autocompress.api.guarded_surveyor import GuardedSurveyor

    threads, start, notices = place.header.threads, time.perf_counter(), []
    models = zoo_models(place.runtime.name, zoo_quantizer(place.runtime.name))
    with GuardedSurveyor(place.runtime.name, place.file.path, place.header) as surveyor:
        watched: dict[str, Any] = {"threads": threads, "progress": progress, "surveyor": surveyor}
        done = survey(place.runtime, place.file, budget_s=budget_s, models=models, **watched)
        measured, invalid, table, refusal = done.measured, done.invalid, done.table, done.refusal
        remaining_s = None if budget_s is None else budget_s - done.seconds
        if done.left:
            notices.append("the zoo is not finished; repeat the command to go on where it stopped")
        elif refusal is None and (remaining_s is None or remaining_s > 0):
            more = resample(place.runtime, place.file, budget_s=remaining_s, **watched)
            measured, invalid = measured + more.measured, invalid + more.invalid
            table, refusal = more.table, more.refusal
    row = _row(place, table, measured, invalid, done.left, time.perf_counter() - start)
    return _Filling({**row, "forms": len(table.models)}, refusal, notices)


def _train(path: Path, progress: Progress) -> str:
    from autocompress.latency.train import train_predictors  # not needed for one model

    progress.stage("train predictors")
    folder = user_cache() / "predictors" / path.stem
    try:
        train_predictors(path, folder, command=f"autocompress predictor train {path.name}")
    except TableError as error:
        return str(error)
    return f"predictors trained on {path.name} are in {folder}"


def _row(
    place: _Place, table: LatencyTable, measured: int, invalid: int, remaining: int, seconds: float
) -> dict[str, Any]:
    return {
        "table": str(place.file.path),
        "threads": place.header.threads,
        "records": len(table),
        "measured": measured,
        "invalid": invalid,
        "remaining": remaining,
        "seconds": seconds,
    }

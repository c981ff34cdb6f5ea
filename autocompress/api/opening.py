"""Opens everything a run needs, in an order that refuses bad input before anything is written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autocompress.api.command import command_line
from autocompress.api.latency_model import LatencyModel, open_latency_model
from autocompress.api.places import data_folder
from autocompress.api.request import Request
from autocompress.api.resume import restore
from autocompress.api.scratch import scratch_folder, stem_folder
from autocompress.api.study_start import started_study
from autocompress.api.verification import about_verification, parsed_command, tried_command, verified_by
from autocompress.config import RunConfig
from autocompress.config.options import FILE_SIZE, FULL, LIGHT, NO_RECOVERY
from autocompress.data import Split, open_source, split_groups, split_samples
from autocompress.errors import AutocompressError, StorageError
from autocompress.graph.model import briefly_loadable, input_specs, save_model
from autocompress.graph.transfer_size import deflated_bytes, deflated_file_bytes
from autocompress.progress import Progress, StagesOnly
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.runtimes import get_runtime
from autocompress.search import tasks
from autocompress.search.recorder import Recorder
from autocompress.search.settings import TIMING, SearchSettings
from autocompress.search.space import SearchSpace, load_space
from autocompress.search.state import SearchState
from autocompress.search.stem import StemState
from autocompress.search.stopwatch import Stopwatch
from autocompress.search.trials import Trial
from autocompress.search.workbench import WorkbenchSpec
from autocompress.search.workers import GuardedProcessExecutor, InlineExecutor
from autocompress.store import open_store

if TYPE_CHECKING:
    from autocompress.store.store import Store

BEST_MODEL = "best.onnx"
_TASK_TIMEOUT_S = (60.0, 600.0)
_FULL_RECOVERY_S = 4 * 3600.0
_TRAINING_SHARE = 0.8  # of the longest task; loading and closed forms take the rest
_MEMORY_LIMIT_BYTES = 16 << 30
_MEMORY_SHARE = 0.8


@dataclass
class OpenRun:
    """A run with everything open.

    Attributes:
        request: what was asked.
        name: of the study.
        store: the study database.
        state: of the search.
        spec: what workers open.
        split: which samples serve which purpose.
        latency: the latency model of this device.
        recorder: writes trials.
        command: what to type to get this run again.
    """

    request: Request
    name: str
    store: Store
    state: SearchState
    spec: WorkbenchSpec
    split: Split
    latency: LatencyModel
    recorder: Recorder
    command: str

    def make_executor(self) -> Executor:
        """Guarded worker processes; with 0 workers everything runs in this process."""
        if self.request.config.workers == 0:
            return InlineExecutor(initializer=tasks.start, initargs=(self.spec,))
        return GuardedProcessExecutor(
            self.request.config.workers,
            initializer=tasks.start,
            initargs=(self.spec,),
            task_timeout_s=task_timeout_s(self.request.config),
            memory_limit_bytes=_memory_limit_bytes(),
            threads_per_worker=self.request.config.threads,
        )

    def failed(self, error: BaseException) -> None:
        """Records that the run ended without a result."""
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        reason = "stopped by the user" if status == "interrupted" else f"{type(error).__name__}: {error}"
        with contextlib.suppress(AutocompressError):
            self.store.set_status(self.name, status, reason)  # type: ignore[arg-type]


@contextlib.contextmanager
def open_run(request: Request, progress: Progress, *, announce: bool = True) -> Iterator[OpenRun]:
    """Opens samples, latency model, folders and the study, and closes them again.

    Args:
        request: what was asked.
        progress: what the person watching sees.
        announce: whether to say where the study is kept.

    Raises:
        UserError: when something given cannot be used; nothing was written then.
    """
    config = request.config
    runtime = get_runtime(config.runtime)
    space = load_space(config.search_space, data_folder("search_spaces"))
    command = parsed_command(config)
    split = _split(request)
    latency = open_latency_model(runtime, config.threads, forced=config.latency_table, progress=StagesOnly(progress))
    _check_keeps_input(request)
    _check_writable(config.output)
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(scratch_folder(config.output))
        prepared = prepare(request.model)
        settings = _settings(config, space, latency)
        spec = _workbench(request, work, split, prepared, latency, settings.verified_by)
        timing = tried_command(command, Path(spec.model_path), progress)
        store = stack.enter_context(open_store(config.storage, create=not config.resume))
        name = stack.enter_context(started_study(request, store, latency))
        if space.structural or len(space.reconstruction) > 1:
            spec = replace(spec, stems=str(stem_folder(config.output, name, str(store.location), config.resume)))
        recorder = Recorder(store, name)
        state = SearchState(
            settings=settings,
            stem=StemState(CandidateBuilder(prepared, config.runtime, request.fingerprint)),
            executor=InlineExecutor(),
            open_estimator=latency.open_estimator,
            on_trial=lambda trial: _record(state, recorder, trial),
            progress=progress,
            stopwatch=Stopwatch(config.timeout_s),
            command=timing,
            folder=work,
        )
        run = OpenRun(request, name, store, state, spec, split, latency, recorder, command_line(config))
        try:
            if config.resume:
                restore(store.load(name), state, recorder, Path(spec.stems) if spec.stems else None)
            if announce:
                progress.notice(f"study {name!r} is kept in {store.location}")
            for text in (*latency.notices, *about_verification(config, latency)):
                state.notice(text)
            yield run
        except BaseException as error:
            run.failed(error)
            raise


def _split(request: Request) -> Split:
    source = open_source(request.data, input_specs(request.model))
    try:
        labels = source.labels(np.arange(len(source))) if source.has_labels else None
        separate = None
        if request.calibration is not None:
            other = open_source(request.calibration, input_specs(request.model))
            separate = len(other)
            other.close()
        seed = request.config.seed
        groups = source.groups()
        if groups is not None:
            return split_groups(groups, seed, separate_calibration=separate)
        return split_samples(len(source), seed, separate_calibration=separate, labels=labels)
    finally:
        source.close()


def task_timeout_s(config: RunConfig) -> float:
    """A task that hangs is stopped after the time of the whole run, within bounds that slow models need."""
    least, most = _TASK_TIMEOUT_S
    if config.recovery == FULL:
        most = _FULL_RECOVERY_S
    return most if config.timeout_s is None else min(max(config.timeout_s, least), most)


def _memory_limit_bytes() -> int:
    """Most memory of one worker: before it grows so large that the system ends other programs."""
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # a system that does not tell
        return _MEMORY_LIMIT_BYTES
    return min(_MEMORY_LIMIT_BYTES, int(_MEMORY_SHARE * installed))


def _check_keeps_input(request: Request) -> None:
    output, data = request.config.output, request.data
    best = output / BEST_MODEL
    if request.model_path is not None and best.resolve() == request.model_path.resolve():
        raise StorageError(
            f"{best} is the model that came in and would be written over; give another --output, or copy the model"
        )
    if data.kind == "images" and output.resolve().is_relative_to(data.path):
        raise StorageError(
            f"the output folder {output} lies in the folder of samples {data.label}; give another --output"
        )


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(
            f"cannot write to the output folder {folder}: {error.strerror}; give another --output"
        ) from error


def _workbench(
    request: Request, work: Path, split: Split, prepared: Any, latency: LatencyModel, verified_by: str
) -> WorkbenchSpec:
    config = request.config
    return WorkbenchSpec(
        model_path=str(save_model(request.model, work / "baseline.onnx")),
        prepared_path=str(save_model(prepared, work / "prepared.onnx")),
        fingerprint=request.fingerprint,
        size_bytes=request.size_bytes,
        folder=str(work),
        runtime=config.runtime,
        threads=config.threads,
        batch_size=config.batch_size,
        data=request.data,
        calibration=request.calibration or request.data,
        split=split,
        metric=request.metric,
        sizes=dict(config.shapes),
        max_accuracy_drop=config.max_accuracy_drop,
        table_path=str(latency.writable_table),
        table_header=latency.header,
        known_table_path=None if latency.shipped_path is None else str(latency.shipped_path),
        seed=config.seed,
        verified_by=verified_by,
        priced_threads=latency.header.threads,
        calibration_is_separate=request.calibration is not None,
        size_as=config.size_as or FILE_SIZE,
        deflate_bytes=_deflate_bytes(request),
    )


def _deflate_bytes(request: Request) -> int:
    """Of the very files that came in; of the serialized bytes where a model was given from Python."""
    if request.model_path is not None:
        return deflated_file_bytes(request.model_path)
    with briefly_loadable(request.model) as given:
        return deflated_bytes(given) if isinstance(given, bytes) else deflated_file_bytes(given)


def _settings(config: RunConfig, space: SearchSpace, latency: LatencyModel) -> SearchSettings:
    size = config.target_size
    return SearchSettings(
        space=space,
        max_accuracy_drop=config.max_accuracy_drop,
        target_speedup=config.target_speedup,
        target_latency_ms=config.target_latency_ms,
        target_size_factor=None if size is None else size.factor,
        target_size_bytes=None if size is None else size.size_bytes,
        trials=config.trials,
        timeout_s=config.timeout_s,
        seed=config.seed,
        deterministic=config.deterministic,
        workers=max(config.workers, 1),
        verified_by=verified_by(config, latency),
        profiles=not latency.elsewhere,
        recovery=config.recovery or (LIGHT if space.structural else NO_RECOVERY),
        longest_task_s=_TRAINING_SHARE * task_timeout_s(config),
        size_as=config.size_as or FILE_SIZE,
    )


def _record(state: SearchState, recorder: Recorder, trial: Trial) -> None:
    stem = state.stem_of(trial.recipe) or state.first_stem
    assert stem.encoding is not None and state.budget is not None
    limits = state.budget if state.settings.verified_by == TIMING else state.limits
    recorder.record(trial, stem.encoding, limits)

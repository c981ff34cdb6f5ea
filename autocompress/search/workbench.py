"""What a worker process has at hand to build and evaluate candidates; opened once per process, filled on demand."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from autocompress.calibration.statistics import Statistics
from autocompress.data import DataSpec, SampleSource, Split, open_source
from autocompress.errors import CandidateFailed, DataError, ModelError, RecipeError, RuntimeFailure
from autocompress.evaluate.evaluation import Evaluation
from autocompress.evaluate.evaluator import LEFT_OUT_GROUPS, evaluate_reference
from autocompress.evaluate.metrics import Metric, resolve_metric
from autocompress.evaluate.metrics.truth import class_count
from autocompress.evaluate.reference import Reference, record_reference
from autocompress.graph.channels import ChannelAnalysis, analyse_channels
from autocompress.graph.model import loadable
from autocompress.graph.normalize import normalize
from autocompress.latency.journal import TableFile
from autocompress.latency.profile import ProfileOutcome, profile_model
from autocompress.latency.table import LatencyTable, TableHeader
from autocompress.passes.prune.criteria import Scores
from autocompress.passes.prune.moments import Reader
from autocompress.recipe.builder import CandidateBuilder
from autocompress.recipe.calibration import CalibrationSamples
from autocompress.recipe.class_labels import class_labels
from autocompress.recipe.freezer import Freezer
from autocompress.recipe.recipe import Recipe
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import Session, SessionOptions
from autocompress.search.counted_size import FILE
from autocompress.search.settings import TIMING

Array = npt.NDArray[Any]
_METRIC_SAMPLES = 32
_TRAINING_BYTES = 512 << 20


@dataclass(frozen=True)
class WorkbenchSpec:
    """Everything a worker needs to open the same bench; small and picklable.

    Attributes:
        model_path: the model with its sizes bound, as it will be deployed.
        prepared_path: its normalized, folded form.
        fingerprint: of the model that came in.
        size_bytes: bytes on disk of the model that came in.
        folder: where statistics and the baseline's outputs are kept for all workers.
        runtime: name of the runtime.
        threads: intra-op threads.
        batch_size: samples per run when timing.
        data: samples for search and verification.
        calibration: samples for calibration (may be the same).
        split: which samples serve which purpose.
        metric: name, function or None, as the user chose.
        sizes: sizes asked for the model's inputs when timing; others are those of the samples.
        max_accuracy_drop: in the metric's own unit.
        table_path: latency table to which newly timed operators are added.
        table_header: its header.
        known_table_path: a further table whose operators need not be timed, or None.
        seed: of interleaving and resampling.
        verified_by: where the latency of finalists comes from (see ``SearchSettings``).
        priced_threads: threads that latency is estimated for; they take part in what the runtime executes.
        stems: folder for the float models that recipes make of the original, and what they have learnt.
        calibration_is_separate: whether all samples of ``calibration`` may train, because none of them judges.
        size_as: which size of candidates counts: "file" or "deflate".
        deflate_bytes: of the model that came in, compressed by deflate.
    """

    model_path: str
    prepared_path: str
    fingerprint: str
    size_bytes: int
    folder: str
    runtime: str
    threads: int
    batch_size: int
    data: DataSpec
    calibration: DataSpec
    split: Split
    metric: str | Callable[..., Any] | None
    sizes: Mapping[str, tuple[int, ...]]
    max_accuracy_drop: float
    table_path: str
    table_header: TableHeader
    known_table_path: str | None
    seed: int
    verified_by: str = TIMING
    priced_threads: int = 1
    stems: str = ""
    calibration_is_separate: bool = False
    size_as: str = FILE
    deflate_bytes: int | None = None

    @property
    def times(self) -> bool:
        """Whether candidates are timed on this machine."""
        return self.verified_by == TIMING


class Workbench:
    """Models, samples and sessions of one study, opened when first used.

    Attributes:
        spec: what it was opened from.
        scores: criterion -> importance of the channels of the prepared model, as far as anybody asked.
        readers: layers of the prepared model with second moments of what they read, as far as anybody asked.
        input_norms: hash of a stem -> node name -> norms of what its weights meet, as far as anybody asked.
    """

    def __init__(self, spec: WorkbenchSpec) -> None:
        self.spec = spec
        self.scores: dict[str, Scores] = {}
        self.readers: dict[str, Reader] = {}
        self.input_norms: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
        self._evaluations: dict[str, Evaluation] = {}

    @cached_property
    def runtime(self) -> Any:
        """The runtime."""
        return get_runtime(self.spec.runtime)

    @property
    def options(self) -> SessionOptions:
        """How models are loaded."""
        return SessionOptions(threads=self.spec.threads)

    @cached_property
    def builder(self) -> CandidateBuilder:
        """Builds candidates of the prepared model."""
        prepared = onnx.load(self.spec.prepared_path)
        return CandidateBuilder(prepared, self.spec.runtime, self.spec.fingerprint)

    @cached_property
    def baseline_session(self) -> Session:
        """The uncompressed model, loaded."""
        session: Session = self.runtime.load(self.spec.model_path, self.options)
        return session

    @cached_property
    def source(self) -> SampleSource:
        """Samples of the search and verification parts."""
        return open_source(self.spec.data, self.baseline_session.inputs)

    @cached_property
    def calibration_source(self) -> SampleSource:
        """Samples of the calibration part."""
        return open_source(self.spec.calibration, self.baseline_session.inputs)

    @cached_property
    def samples(self) -> CalibrationSamples:
        """The samples that recipes learn from."""
        calibrating = self.spec.split.calibration.tolist()
        return CalibrationSamples(
            lambda model: self.runtime.load(loadable(model, self._own_file("calibrated")), self.options),
            lambda: self.calibration_source,
            calibrating,
            self._further(calibrating) if self.spec.calibration_is_separate else (),
            lambda indices: class_labels(self.calibration_source, indices),
        )

    def _further(self, calibrating: list[int]) -> list[int]:
        """Samples of separate calibration data that only training uses, as many as memory allows."""
        count = len(self.calibration_source)
        one = sum(array.nbytes for array in self.calibration_source.inputs(calibrating[:1]).values())
        most = max(_TRAINING_BYTES // max(one, 1) - len(calibrating), 0)
        return [int(i) for i in np.setdiff1d(np.arange(count), calibrating)[:most]]

    @cached_property
    def freezer(self) -> Freezer:
        """What recipes learn from samples, once per study."""
        stems = Path(self.spec.stems) if self.spec.stems else None
        return Freezer(self.builder, self.samples, Path(self.spec.folder), stems=stems, unfolded=lambda: self.unfolded)

    @cached_property
    def unfolded(self) -> onnx.ModelProto:
        """The normalized model with what folding hides, such as scales of batch normalization."""
        return normalize(onnx.load(self.spec.model_path))

    @cached_property
    def channels(self) -> ChannelAnalysis:
        """Which channels of the prepared model can go."""
        return analyse_channels(self.builder.prepared)

    @cached_property
    def timing_feeds(self) -> dict[str, Array]:
        """One batch to time with: real samples, because their values can matter."""
        indices = np.resize(self.spec.split.search, self.spec.batch_size)
        feeds = self.source.inputs(indices)
        return {name: _of_size(array, self.spec.sizes.get(name)) for name, array in feeds.items()}

    @cached_property
    def metric(self) -> Metric:
        """The metric; settled by what the original model returned for some samples (see ``record_reference``)."""
        outputs = self.reference.outputs(self.spec.split.search[:_METRIC_SAMPLES])
        labels = self.source.labels(np.arange(len(self.source))) if self.source.has_labels else None
        return resolve_metric(self.spec.metric, outputs=outputs, labels=labels)

    @cached_property
    def reference(self) -> Reference:
        """The original model's outputs on the search and verification parts."""
        return Reference(self._reference_folder, self._output_names, self._referenced)

    def record_reference(self) -> None:
        """Runs the original model over the search and verification parts and keeps its outputs on disk."""
        record_reference(self.baseline_session, self.source, self._referenced, folder=self._reference_folder)

    @property
    def _reference_folder(self) -> str:
        return str(Path(self.spec.folder) / "reference")

    @property
    def _output_names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.baseline_session.outputs)

    @property
    def _referenced(self) -> npt.NDArray[np.int64]:
        return np.concatenate([self.spec.split.search, self.spec.split.verification])

    def indices(self, part: str) -> npt.NDArray[np.int64]:
        """Samples of "search" or "verification"."""
        return self.spec.split.search if part == "search" else self.spec.split.verification

    def baseline_evaluation(self, part: str) -> Evaluation:
        """The original model on a part, from its recorded outputs."""
        if part not in self._evaluations:
            self._evaluations[part] = evaluate_reference(
                self.reference, self.source, self.indices(part), self.metric, left_out_groups=LEFT_OUT_GROUPS
            )
        return self._evaluations[part]

    @cached_property
    def classes(self) -> int | None:
        """Number of classes of the first output that looks like class scores, or None."""
        outputs = self.reference.outputs(self.spec.split.search[:1])
        counts = (class_count(values) for values in outputs.values())
        return next((count for count in counts if count), None)

    def profile(self, model: bytes | str, budget_s: float) -> ProfileOutcome:
        """Times the operators of a model that no table knows and adds them to the user's own.

        Raises:
            RuntimeFailure: when the runtime refuses the model.
        """
        return profile_model(
            self.runtime,
            model,
            self.timing_feeds,
            self._table_file,
            known=self._known_table,
            threads=self.spec.threads,
            budget_s=budget_s,
        )

    @cached_property
    def _table_file(self) -> TableFile:
        return TableFile(Path(self.spec.table_path), self.spec.table_header)

    @cached_property
    def _known_table(self) -> LatencyTable | None:
        return None if self.spec.known_table_path is None else LatencyTable.load(self.spec.known_table_path)

    def _own_file(self, name: str) -> Path:
        """A file that only this process writes."""
        return Path(self.spec.folder) / f"{name}-{os.getpid()}.onnx"

    def build(self, recipe: Recipe) -> tuple[bytes | str, float]:
        """A candidate as runtimes load it (see ``loadable``) and the seconds that building took.

        One that is a file lasts until the next one is built.

        Raises:
            CandidateFailed: when the recipe does not fit the model.
        """
        try:
            # Learning and reading files are not part of building; they happen once per study and process.
            self.freezer.prepare(recipe)
            start = time.perf_counter()
            serialized = loadable(self.builder.build(self.freezer.freeze(recipe)), self._own_file("candidate"))
        except (RecipeError, ModelError, DataError) as error:
            raise CandidateFailed(f"the candidate could not be built: {error}") from error
        return serialized, time.perf_counter() - start

    def load(self, serialized: bytes | str) -> Session:
        """A candidate, loaded.

        Raises:
            CandidateFailed: when the runtime refuses it.
        """
        try:
            session: Session = self.runtime.load(serialized, self.options)
        except RuntimeFailure as error:
            raise CandidateFailed(f"the runtime refused the candidate: {error}") from error
        return session

    def calibrate(self) -> Statistics:
        """Runs the one calibration pass over the original, folded, and keeps its statistics for every worker."""
        return self.freezer.statistics(Recipe())


def _of_size(array: Array, sizes: tuple[int, ...] | None) -> Array:
    """The array repeated or cut to the sizes asked for."""
    if sizes is None or tuple(sizes) == array.shape:
        return array
    for axis, size in enumerate(sizes):
        array = np.take(array, np.arange(size), axis=axis, mode="wrap")
    return np.ascontiguousarray(array)

"""What the database holds, as plain frozen data: nothing here knows about SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from autocompress.measurement import (
    EstimatedLatency,
    EstimatedSpeedup,
    Interval,
    MeasuredDrop,
    MeasuredLatency,
    MeasuredSpeedup,
)

Status = Literal["running", "complete", "interrupted", "failed"]
Origin = Literal["seed", "explore", "screen", "polish"]
CandidateState = Literal["complete", "pruned", "failed"]
Role = Literal["baseline", "best"]
LatencyStatus = Literal["measured", "measured by command", "estimated, not verified"]

MEASURED: LatencyStatus = "measured"
BY_COMMAND: LatencyStatus = "measured by command"
NOT_VERIFIED: LatencyStatus = "estimated, not verified"
STATUSES: tuple[Status, ...] = ("running", "complete", "interrupted", "failed")
ORIGINS: tuple[Origin, ...] = ("seed", "explore", "screen", "polish")
CANDIDATE_STATES: tuple[CandidateState, ...] = ("complete", "pruned", "failed")
ROLES: tuple[Role, ...] = ("baseline", "best")


@dataclass(frozen=True)
class NewStudy:
    """What is known when a study starts.

    Attributes:
        name: name of the study, also its name in Optuna.
        model_fingerprint: content hash of the model.
        model_path: where the model was read from, as the user gave it.
        model_size_bytes: bytes on disk, external data included.
        runtime: name of the runtime.
        runtime_version: its version.
        device: identified hardware, as one readable line.
        threads: intra-op threads.
        batch_size: samples per run when timing.
        metric: name of the accuracy metric.
        config: targets, budgets, seed and every other setting that decides the result; JSON-ready.
        versions: version per package; JSON-ready.
    """

    name: str
    model_fingerprint: str
    model_path: str
    model_size_bytes: int
    runtime: str
    runtime_version: str
    device: str
    threads: int
    batch_size: int
    metric: str
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyHeader:
    """One study without its rows.

    Attributes:
        study: what was known when it started.
        created: when it started (UTC).
        updated: when anything of it was last written (UTC).
        status: "running" also stands for a study whose process was killed.
        stop_reason: why the search ended, one sentence; None while it runs.
        baseline: the uncompressed model's Measurement, JSON; None before it is measured.
        summary: the document that ``summary.json`` holds; None before the study ends.
        trials: number of recorded candidates.
    """

    study: NewStudy
    created: datetime
    updated: datetime
    status: Status
    stop_reason: str | None = None
    baseline: Mapping[str, Any] | None = None
    summary: Mapping[str, Any] | None = None
    trials: int = 0

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.study.name


@dataclass(frozen=True)
class CandidateRecord:
    """One trial: what was proposed, predicted, built and measured.

    Attributes:
        trial: number of the Optuna trial.
        recipe_hash: identity of the choices.
        recipe: the recipe's steps; JSON-ready.
        origin: "seed" (integer programming), "explore" (bred around others), "screen" (whole-model schemes) or
            "polish" (reconstructed).
        state: as in Optuna.
        cause: why it was pruned or failed; None for complete trials.
        predicted_drop: accuracy predictor's answer, in the metric's own unit.
        predicted_drop_interval: where the predictor expects the drop.
        estimate: the latency estimator's answer.
        estimated_speedup: the baseline's estimate over that, in studies for a device that this machine cannot time.
        search_drop: drop measured on the search part of the data.
        search_speedup: short interleaved timing against the baseline, during the search.
        damage: label-free damage at the network's output.
        latency: latency measured during the search.
        size_bytes: bytes on disk of the candidate.
        build_s: seconds that building took; None when it was never built.
        evaluate_s: seconds that evaluating took.
        verified_drop: drop measured on the verification part.
        verified_speedup: interleaved timing against the baseline.
        artifact: path of the stored model, when one was kept.
        deflate_bytes: of the same compressed by deflate, where somebody compressed it.
    """

    trial: int
    recipe_hash: str
    recipe: Sequence[Mapping[str, Any]]
    origin: Origin
    state: CandidateState
    cause: str | None = None
    predicted_drop: float | None = None
    predicted_drop_interval: Interval | None = None
    estimate: EstimatedLatency | None = None
    estimated_speedup: EstimatedSpeedup | None = None
    search_drop: MeasuredDrop | None = None
    search_speedup: MeasuredSpeedup | None = None
    damage: float | None = None
    latency: MeasuredLatency | None = None
    size_bytes: int | None = None
    build_s: float | None = None
    evaluate_s: float | None = None
    verified_drop: MeasuredDrop | None = None
    verified_speedup: MeasuredSpeedup | None = None
    artifact: str | None = None
    deflate_bytes: int | None = None

    @property
    def built(self) -> bool:
        """Whether a model was made of the recipe."""
        return self.build_s is not None

    @property
    def latency_status(self) -> LatencyStatus | None:
        """How much its latency can be trusted; None where there is none."""
        timed = self.verified_speedup or self.search_speedup
        latency = timed.b if timed is not None else self.latency
        if latency is not None:
            return BY_COMMAND if latency.clock == "command" else MEASURED
        return NOT_VERIFIED if self.estimate is not None else None


@dataclass(frozen=True)
class OperatorRecord:
    """One executed operator of one model.

    Attributes:
        name: the runtime's name for it.
        op_type: operator type as executed.
        layer: layer of the given model that it stands for; "" when it stands for none.
        shape: readable shapes, such as "1x64x56x56 -> 1x64x56x56".
        dtype: dtype it computes in.
        parameters: number of weights.
        macs: multiply-accumulate operations.
        estimated_ms: estimated time.
        source: where the time comes from ("table", "forest", "measured", "bound").
        share: fraction of the model's estimated time, in [0, 1].
    """

    name: str
    op_type: str
    layer: str
    shape: str
    dtype: str
    parameters: int
    macs: int
    estimated_ms: float
    source: str
    share: float


@dataclass(frozen=True)
class LayerRecord:
    """Sensitivity and price of one option of one layer.

    Attributes:
        layer: name of the layer (or fused region).
        option: what is done to it ("fp32", "int8", ...).
        damage: damage at the network's output when only this layer takes this option; None when not probed.
        estimated_ms: estimated time of the layer under this option; None when not priced.
        chosen: whether the best recipe takes this option here.
    """

    layer: str
    option: str
    damage: float | None
    estimated_ms: float | None
    chosen: bool = False


@dataclass(frozen=True)
class EventRecord:
    """Something that happened.

    Attributes:
        time: when (UTC).
        stage: "baseline", "calibrate", "profile", "search", "verify", ...
        message: one sentence.
    """

    time: datetime
    stage: str
    message: str


@dataclass(frozen=True)
class StudyRecord:
    """Everything the database knows about one study.

    Attributes:
        header: the study itself.
        candidates: trials, by number.
        operators: executed operators per role, in execution order.
        layers: sensitivity rows, in recorded order.
        events: what happened, by time.
    """

    header: StudyHeader
    candidates: tuple[CandidateRecord, ...] = ()
    operators: Mapping[Role, tuple[OperatorRecord, ...]] = field(default_factory=dict)
    layers: tuple[LayerRecord, ...] = ()
    events: tuple[EventRecord, ...] = ()

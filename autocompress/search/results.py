"""What tasks bring back from worker processes: small, picklable, measured facts."""

from __future__ import annotations

from dataclasses import dataclass

from autocompress.measurement import EstimatedSpeedup, MeasuredAccuracy, MeasuredDrop, MeasuredLatency, MeasuredSpeedup
from autocompress.runtimes.protocol import ExecutedOp


@dataclass(frozen=True)
class BaselineResult:
    """The uncompressed model, observed.

    Attributes:
        search: accuracy on the search part.
        verification: accuracy on the verification part.
        metric: the metric and what it is measured against, in words.
        is_fraction: whether 1 % of the metric means 0.01.
        higher_is_better: direction of the metric.
        latency: its latency alone, where finalists are timed; None where nobody times them.
        run_s: seconds that one run takes on this machine, for planning.
        size_bytes: bytes on disk of the model that came in.
        notices: sentences a person should read.
        deflate_bytes: of its files compressed by deflate, where somebody compressed them.
    """

    search: MeasuredAccuracy
    verification: MeasuredAccuracy
    metric: str
    is_fraction: bool
    higher_is_better: bool
    latency: MeasuredLatency | None
    run_s: float
    size_bytes: int
    notices: tuple[str, ...]
    deflate_bytes: int | None = None


@dataclass(frozen=True)
class ProbeResult:
    """A candidate that was looked at, not run.

    Attributes:
        ops: as the runtime executes it.
        size_bytes: of its file.
        deflate_bytes: of its file compressed by deflate, where that counts.
    """

    ops: tuple[ExecutedOp, ...]
    size_bytes: int
    deflate_bytes: int | None = None


@dataclass(frozen=True)
class EqualizationResult:
    """What an equalization does to the model.

    Attributes:
        contents: identifies what it changes; empty where it changes nothing.
        inserted: operators that it adds.
    """

    contents: str
    inserted: int


@dataclass(frozen=True)
class ReconstructionResult:
    """What rounding by reconstruction did.

    Attributes:
        layers: whose weights were rounded anew, or tensors that were trained.
        improved: of them, those that bring the output nearer to the original's than nearest rounding does.
    """

    layers: int
    improved: int


@dataclass(frozen=True)
class DamageResult:
    """Label-free output damage of one candidate.

    Attributes:
        damage: relative squared error of the outputs against the baseline's; inf where outputs were not finite.
        build_s: seconds spent on building it.
        evaluate_s: seconds spent on running it.
    """

    damage: float
    build_s: float
    evaluate_s: float


@dataclass(frozen=True)
class EvaluationResult:
    """One candidate, evaluated on the search part.

    Attributes:
        accuracy: the metric; on the samples seen before an early stop.
        drop: paired against the baseline on the same samples.
        damage: label-free output damage on the same samples.
        speedup: short interleaved timing against the baseline; None where latency is estimated.
        size_bytes: of the serialized candidate.
        stopped_early: whether the candidate was clearly out before all samples were seen.
        build_s: seconds spent on building it.
        evaluate_s: seconds spent on loading, running and timing it.
        ops: the candidate as the runtime executes it, where latency is estimated.
        deflate_bytes: of the serialized candidate compressed by deflate, where that counts.
    """

    accuracy: MeasuredAccuracy
    drop: MeasuredDrop
    damage: float
    speedup: MeasuredSpeedup | None
    size_bytes: int
    stopped_early: bool
    build_s: float
    evaluate_s: float
    ops: tuple[ExecutedOp, ...] = ()
    deflate_bytes: int | None = None


@dataclass(frozen=True)
class VerificationResult:
    """One finalist, measured on samples that the search never saw, and timed against the baseline or estimated.

    Attributes:
        accuracy: the metric on the verification part.
        drop: paired against the baseline on the verification part.
        speedup: long interleaved timing; None where nobody times finalists.
        size_bytes: of the serialized candidate.
        ops: the candidate as the runtime executes it.
        model_path: file of the candidate, where a command is to time it.
        estimated: what the estimator says instead; None where it was timed.
        deflate_bytes: of the serialized candidate compressed by deflate.
    """

    accuracy: MeasuredAccuracy
    drop: MeasuredDrop
    speedup: MeasuredSpeedup | None
    size_bytes: int
    ops: tuple[ExecutedOp, ...] = ()
    model_path: str | None = None
    estimated: EstimatedSpeedup | None = None
    deflate_bytes: int | None = None

    @property
    def gain(self) -> float:
        """The speedup to decide by: measured, or estimated where nobody times finalists."""
        return self._known.speedup

    @property
    def gain_low(self) -> float:
        """Lower end of its interval."""
        return self.speedup.speedup_ci95.low if self.speedup is not None else self._known_estimate.interval90.low

    @property
    def _known(self) -> MeasuredSpeedup | EstimatedSpeedup:
        return self.speedup if self.speedup is not None else self._known_estimate

    @property
    def _known_estimate(self) -> EstimatedSpeedup:
        assert self.estimated is not None, "a finalist is timed or estimated"
        return self.estimated

"""What runs in worker processes: module-level functions with small arguments and small results.

``start`` opens the workbench of the process; every other function uses it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from autocompress.errors import CandidateFailed, DataError, MetricError, ModelError, RecipeError, RuntimeFailure
from autocompress.evaluate.chance import at_chance
from autocompress.evaluate.damage import measure_damage
from autocompress.evaluate.evaluation import Evaluation
from autocompress.evaluate.evaluator import LEFT_OUT_GROUPS
from autocompress.evaluate.evaluator import evaluate as run_evaluation
from autocompress.evaluate.sequential import StopRule
from autocompress.evaluate.statistics import measure_drop
from autocompress.files import write_bytes
from autocompress.graph.model import copy_model_file, loadable_bytes
from autocompress.graph.transfer_size import deflated_bytes, deflated_file_bytes
from autocompress.measurement import MeasuredDrop, MeasuredSpeedup
from autocompress.recipe.packed import digest_of
from autocompress.recipe.recipe import Recipe
from autocompress.recipe.steps import STEP
from autocompress.runtimes.protocol import ExecutedOp, Session
from autocompress.runtimes.timing import measure_interleaved, time_session
from autocompress.search.counted_size import DEFLATE
from autocompress.search.progress_file import ProgressFile
from autocompress.search.results import (
    BaselineResult,
    DamageResult,
    EqualizationResult,
    EvaluationResult,
    ProbeResult,
    ReconstructionResult,
    VerificationResult,
)
from autocompress.search.settings import COMMAND
from autocompress.search.stems.cores import all_cores
from autocompress.search.workbench import Workbench, WorkbenchSpec

_BASELINE_TIMING_S, _PLANNING_S = 2.0, 0.3
_TRIAL_TIMING_S = 0.5
_VERIFY_TIMING_S = 4.0
# Rounds at least: of a slow model each is a long measurement by itself, and twenty would take longer than judging it.
_TRIAL_ROUNDS, _VERIFY_ROUNDS = 8, 12
_DAMAGE_SAMPLES, _FIRST_LOOK = 16, 4

_bench: Workbench | None = None


def start(spec: WorkbenchSpec) -> None:
    """Opens the workbench of this process."""
    global _bench
    _bench = Workbench(spec)


def bench() -> Workbench:
    """The workbench of this process."""
    assert _bench is not None, "the worker was not started with a workbench"
    return _bench


def baseline() -> BaselineResult:
    """Measures the uncompressed model and records its outputs for all workers.

    Raises:
        ModelError: when its outputs are not finite, or the runtime refuses or fails to run it.
        DataError, MetricError: when data or metric do not fit it.
    """
    tools = bench()
    try:
        budget_s = _BASELINE_TIMING_S if tools.spec.times else _PLANNING_S
        latency = time_session(tools.baseline_session, tools.timing_feeds, budget_s=budget_s)
        tools.record_reference()
    except RuntimeFailure as error:
        raise ModelError(f"the runtime cannot run the model on this data: {error}") from error
    search, verification = (tools.baseline_evaluation(part) for part in ("search", "verification"))
    notices = list(tools.source.notices)
    notices += [text for text in tools.metric.notices if text not in notices]
    if at_chance(verification.value, tools.metric, tools.classes, verification.n):
        notices.append(
            f"the original model's {tools.metric.name} of {verification.value:.3g} is no better than chance: check "
            "that labels and preprocessing fit the model"
        )
    return BaselineResult(
        search=search.accuracy,
        verification=verification.accuracy,
        metric=tools.metric.description,
        is_fraction=tools.metric.is_fraction,
        higher_is_better=tools.metric.higher_is_better,
        latency=latency if tools.spec.times else None,
        run_s=latency.latency_ms / 1e3,
        size_bytes=tools.spec.size_bytes,
        notices=tuple(notices),
        deflate_bytes=tools.spec.deflate_bytes,
    )


def calibrate() -> dict[str, int]:
    """Runs the calibration pass and keeps its statistics; returns the elements per sample of each tensor."""
    statistics = bench().calibrate()
    return {name: values.count // max(values.samples, 1) for name, values in statistics.items()}


def probe(recipe: Recipe) -> ProbeResult:
    """A candidate as the runtime executes it, and the size of its file.

    Raises:
        CandidateFailed: when it cannot be built or loaded.
    """
    serialized, _ = bench().build(recipe)
    return ProbeResult(tuple(_executed(serialized)), loadable_bytes(serialized), _counted_deflate(serialized))


def equalize(recipe: Recipe) -> EqualizationResult:
    """Equalizes the model and calibrates what changed, for all workers.

    Raises:
        CandidateFailed: when the model cannot be equalized, or has other units then.
    """
    tools = bench()
    try:
        payloads = tools.freezer.payloads(recipe)
        form = tools.builder.form(recipe, payloads)
        packed = STEP["equalize"].pack(payloads["equalize"])
        changes = bool(packed.arrays or packed.document["unbounded"])
        if changes:
            tools.freezer.statistics(recipe)
    except (RecipeError, ModelError, DataError, RuntimeFailure) as error:
        raise CandidateFailed(str(error)) from error
    options = {unit.name: unit.options for unit in tools.builder.quantizer.units}
    if {unit.name: unit.options for unit in form.quantizer.units} != options:
        raise CandidateFailed("the equalized model offers other units for quantization")
    inserted = STEP["equalize"].stay_float(form.model, payloads["equalize"])
    return EqualizationResult(f"{packed.document}{digest_of(packed.arrays)}" if changes else "", len(inserted))


def executed_baseline() -> list[ExecutedOp]:
    """The uncompressed model as the runtime executes it."""
    return _executed(bench().spec.model_path)


def profile(recipe: Recipe | None, budget_s: float) -> str | None:
    """Times the operators of a candidate (of the original for None) that no table knows.

    Returns:
        Why operators were left out though there was time for them; None if none were.

    Raises:
        CandidateFailed: when the candidate cannot be built or loaded.
    """
    tools = bench()
    model = tools.spec.model_path if recipe is None else tools.build(recipe)[0]
    try:
        return tools.profile(model, budget_s).refusal
    except RuntimeFailure as error:
        raise CandidateFailed(f"the runtime refused the candidate: {error}") from error


def reconstruct(recipe: Recipe, deadline_s: float | None, told: Path | None) -> ReconstructionResult:
    """Rounds or trains the weights of a candidate and keeps them for all workers.

    Args:
        recipe: with a reconstruct step.
        deadline_s: seconds to stay within.
        told: file that says meanwhile how far it is.

    Raises:
        CandidateFailed: when the candidate cannot be built, or its weights cannot be rounded.
    """
    progress = None if told is None else ProgressFile(told)
    trains = recipe.reconstruct is not None and recipe.reconstruct.training is not None
    try:
        with all_cores(trains and deadline_s is not None):
            found = bench().freezer.reconstruct(recipe, progress=progress, deadline_s=deadline_s)
    except (RecipeError, ModelError, DataError, RuntimeFailure) as error:
        raise CandidateFailed(str(error)) from error
    improved = sum(error.reconstructed < error.nearest for error in found.errors.values())
    return ReconstructionResult(len(found.integers) + len(found.trained), improved + len(found.trained))


def damages(recipes: Sequence[Recipe], samples: int, hopeless: float = float("inf")) -> list[DamageResult]:
    """Output damage of candidates on the first samples of the search part; infinite where outputs are not finite.

    Args:
        recipes: of the candidates.
        samples: how many.
        hopeless: where the first few samples say more than this, they are enough.

    Raises:
        CandidateFailed: when a candidate cannot be built or loaded.
    """
    return [_damage(recipe, samples, hopeless) for recipe in recipes]


def evaluate(recipe: Recipe) -> EvaluationResult:
    """Builds a candidate, measures its accuracy on the search part and times it briefly, or shows it as executed.

    Raises:
        CandidateFailed: when it cannot be built, loaded or run, or its outputs are not finite.
    """
    tools = bench()
    serialized, build_s = tools.build(recipe)
    begin = time.perf_counter()
    session = tools.load(serialized)
    found, drop = _evaluation(session, "search", stop=_stop_rule(tools))
    part = tools.spec.split.search[: min(_DAMAGE_SAMPLES, found.n)]
    damage = measure_damage(session, tools.source, part, tools.reference).value
    speedup = _timed(session, _TRIAL_TIMING_S, _TRIAL_ROUNDS) if tools.spec.times else None
    ops = () if tools.spec.times else tuple(_executed(serialized))
    return EvaluationResult(
        accuracy=found.accuracy,
        drop=drop,
        damage=damage,
        speedup=speedup,
        size_bytes=loadable_bytes(serialized),
        stopped_early=found.stopped_early,
        build_s=build_s,
        evaluate_s=time.perf_counter() - begin,
        ops=ops,
        deflate_bytes=_counted_deflate(serialized),
    )


def verify(recipe: Recipe) -> VerificationResult:
    """Measures a finalist on the verification part and times it at length, or leaves it in a file for who does.

    Raises:
        CandidateFailed: when it cannot be built, loaded or run, or its outputs are not finite.
    """
    tools = bench()
    serialized, _ = tools.build(recipe)
    session = tools.load(serialized)
    found, drop = _evaluation(session, "verification", stop=None)
    return VerificationResult(
        accuracy=found.accuracy,
        drop=drop,
        speedup=_timed(session, _VERIFY_TIMING_S, _VERIFY_ROUNDS) if tools.spec.times else None,
        size_bytes=loadable_bytes(serialized),
        ops=tuple(_executed(serialized)),
        model_path=_kept(serialized, recipe) if tools.spec.verified_by == COMMAND else None,
        deflate_bytes=_deflated(serialized),
    )


def _counted_deflate(serialized: bytes | str) -> int | None:
    """The compressed size of a candidate where that counts; it takes as long as a few evaluations of small models."""
    return _deflated(serialized) if bench().spec.size_as == DEFLATE else None


def _deflated(serialized: bytes | str) -> int:
    return deflated_bytes(serialized) if isinstance(serialized, bytes) else deflated_file_bytes(serialized)


def _kept(serialized: bytes | str, recipe: Recipe) -> str:
    path = Path(bench().spec.folder) / f"finalist-{recipe.hash}.onnx"
    if isinstance(serialized, bytes):
        write_bytes(path, serialized)
    else:
        copy_model_file(serialized, path)
    return str(path)


def _evaluation(session: Session, part: str, stop: StopRule | None) -> tuple[Evaluation, MeasuredDrop]:
    """A candidate on a part, and its drop against the original on the same samples."""
    tools = bench()
    original = tools.baseline_evaluation(part)
    try:
        found = run_evaluation(
            session,
            tools.source,
            tools.indices(part),
            tools.metric,
            reference=tools.reference,
            stop=stop,
            left_out_groups=LEFT_OUT_GROUPS,
        )
        return found, measure_drop(_first(original, found.n), found, tools.metric)
    except RuntimeFailure as error:
        raise CandidateFailed(f"the runtime failed while running the candidate: {error}") from error
    except MetricError as error:
        # The original model's outputs were accepted, so it is this candidate's that the metric cannot judge.
        raise CandidateFailed(str(error)) from error


def _stop_rule(tools: Workbench) -> StopRule | None:
    """Stops at clearly worse than a multiple of the limit: what is a little over it still teaches the predictor."""
    scores = tools.baseline_evaluation("search").scores
    if scores is None:
        return None
    return StopRule(
        baseline_scores=scores,
        limit=2.0 * tools.spec.max_accuracy_drop,
        higher_is_better=tools.metric.higher_is_better,
        continuous=tools.metric.continuous,
    )


def _first(evaluation: Evaluation, n: int) -> Evaluation:
    if n == evaluation.n:
        return evaluation
    scores = evaluation.first(n)
    return Evaluation(evaluation.metric, float(scores.mean()), evaluation.indices[:n], scores)


def _damage(recipe: Recipe, samples: int, hopeless: float) -> DamageResult:
    tools = bench()
    serialized, build_s = tools.build(recipe)
    begin = time.perf_counter()
    session = tools.load(serialized)
    try:
        for part in sorted({min(_FIRST_LOOK, samples), samples}):
            value = measure_damage(session, tools.source, tools.spec.split.search[:part], tools.reference).value
            if value > hopeless:
                break
    except CandidateFailed:
        value = float("inf")
    except RuntimeFailure as error:
        raise CandidateFailed(f"the runtime failed while running the candidate: {error}") from error
    return DamageResult(value, build_s, time.perf_counter() - begin)


def _timed(session: Session, budget_s: float, rounds: int) -> MeasuredSpeedup:
    tools = bench()
    return measure_interleaved(
        tools.baseline_session,
        session,
        tools.timing_feeds,
        budget_s=budget_s,
        min_rounds=rounds,
        seed=tools.spec.seed,
    )


def _executed(model: bytes | str) -> list[ExecutedOp]:
    tools = bench()
    try:
        return list(
            tools.runtime.executed_ops(model, tools.timing_feeds, threads=tools.spec.priced_threads, standalone=False)
        )
    except RuntimeFailure as error:
        raise CandidateFailed(f"the runtime refused the candidate: {error}") from error

"""``compress``: the main job, from a model and samples to a verified faster model with its study and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autocompress.api.emit import Emission, emit
from autocompress.api.opening import OpenRun, open_run
from autocompress.api.request import Request, refuse_uncompressible, settle
from autocompress.errors import NothingToCompress
from autocompress.progress import NullProgress, Progress
from autocompress.search.quiet import quiet_optuna
from autocompress.search.search import run_search
from autocompress.search.verify import Outcome

if TYPE_CHECKING:
    from autocompress.store.records import StudyRecord

TARGET_MET, NOT_REACHED, MET_BY_ESTIMATE = 0, 3, 4


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    Attributes:
        summary: the document that ``summary.json`` holds.
        exit_code: 0 when the target was met and verified (or none was set), 3 when it was not reachable, 4 when it is
            met by an estimate that nobody verified.
        output: folder with ``best.onnx``, the recipe, the report and the rest.
        record: everything the study database knows about the study.
    """

    summary: dict[str, Any]
    exit_code: int
    output: Path
    record: StudyRecord


def compress(
    model: object,
    data: object = None,
    *,
    example_input: object = None,
    dynamic_shapes: object = None,
    calibration_data: object = None,
    metric: object = None,
    progress: Progress | None = None,
    **options: object,
) -> RunResult:
    """Finds, builds and verifies a faster form of a model.

    Args:
        model: path of an ONNX file, an ``onnx.ModelProto``, a ``torch.nn.Module`` (with ``example_input``), or a
            ``RunConfig`` that says everything.
        data: samples: path of an .npz file or of a folder of images, a dict of arrays (one per model input, each with
            the samples along its first axis, and ``labels``), or a function that returns such.
        example_input: one input (or a tuple, or a dictionary by name) that a torch module accepts.
        dynamic_shapes: sizes of a torch module's inputs to leave open besides the number of samples, by name or in the
            order of the inputs, such as ``{"input_ids": {1: "sequence"}}``; False fixes all to the example's.
        calibration_data: samples for calibration only, like ``data``.
        metric: name of a metric, ``module.path:function``, or a function ``(outputs, data)``.
        progress: what the person watching sees; nothing by default.
        **options: the options of ``autocompress run``, with underscores: ``target_speedup=2.0``, ``timeout="5m"`` ...

    Raises:
        UserError: when something given cannot be used; nothing was written over.
        NothingToCompress: when the model offers nothing to compress.
    """
    watching = progress or NullProgress()
    request = settle(
        model,
        data,
        example_input=example_input,
        dynamic_shapes=dynamic_shapes,
        calibration_data=calibration_data,
        metric=metric,
        options=options,
    )
    with quiet_optuna(), open_run(request, watching) as run:
        return _result(request, run, emit(run, _search(request, run)))


def _search(request: Request, run: OpenRun) -> Outcome:
    """What the search found; the unchanged model where there is nothing to search for."""
    try:
        refuse_uncompressible(request.model)
        # Leaving by an exception, Ctrl-C among them, ends the worker processes at once.
        with run.make_executor() as executor:
            run.state.executor = executor
            return run_search(run.state)
    except NothingToCompress as reason:
        return Outcome(best=None, target_met=False, reason=str(reason))


def _result(request: Request, run: OpenRun, emission: Emission) -> RunResult:
    return RunResult(
        summary=emission.summary,
        exit_code=_exit_code(emission.summary),
        output=request.config.output,
        record=run.store.load(run.name),
    )


def _exit_code(summary: Mapping[str, Any]) -> int:
    if summary["target_met"]:
        return TARGET_MET
    return MET_BY_ESTIMATE if summary["target_met_by_estimate"] else NOT_REACHED

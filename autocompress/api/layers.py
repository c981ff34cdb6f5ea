"""``sensitivity``: which layer loses the accuracy, and which costs the time, whatever is done to it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from autocompress.api.opening import OpenRun, open_run
from autocompress.api.request import refuse_uncompressible, settle
from autocompress.data import open_source
from autocompress.errors import ConfigError, StorageError
from autocompress.files import write_bytes
from autocompress.graph.model import input_specs
from autocompress.passes.decompose.methods import METHODS
from autocompress.passes.prune import CRITERIA
from autocompress.progress import NullProgress, Progress
from autocompress.search.quiet import quiet_optuna

QUANTIZATION, PRUNING, LOW_RANK = "quantization", "pruning", "low_rank"
KINDS = (QUANTIZATION, PRUNING, LOW_RANK)

_DAMAGE_SAMPLES, _DROP_SAMPLES = 16, 256


def sensitivity(
    model: str | Path,
    data: Any,
    *,
    kind: str = QUANTIZATION,
    criteria: Sequence[str] = ("l2",),
    methods: Sequence[str] = ("svd", "spatial"),
    points: int = 4,
    metric: str | None = None,
    plot: str | Path | None = None,
    preprocess: str | Path | None = None,
    runtime: str = "onnxruntime",
    threads: int = 1,
    shapes: dict[str, tuple[int, ...]] | None = None,
    latency_table: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measures what each layer loses when it alone is compressed, and the time that saves; needs no labels.

    Args:
        model: ONNX file.
        data: samples.
        kind: "quantization" (each layer in each precision), "pruning" (each group of channels at several widths) or
            "low_rank" (each layer at several ranks).
        criteria: of "pruning": by which channels go, one curve each.
        methods: of "low_rank": of decomposition, one curve each.
        points: of each curve at most; only widths and ranks that the runtime executes faster count.
        metric: name of a metric; where it or labels are given, curves also have the accuracy lost.
        plot: a .png file to draw into.
        preprocess: YAML file that says how raw samples become model inputs.
        runtime: what would execute the model.
        threads: intra-op threads.
        shapes: sizes of dynamic inputs.
        latency_table: use this table.
        seed: of every random choice.
        progress: told meanwhile.

    Returns:
        ``kind``, ``notices``, ``plot``, and for "quantization" ``layers``: rows with ``name``, ``op_type``, ``option``,
        ``damage``, ``latency_ms``, ``share`` of the float model's time, and ``saved_ms``, the most damaging first; for
        the others ``curves`` (see ``autocompress.search.stems.curves.Curve``), the most sensitive place first.

    Raises:
        UserError: when model or data cannot be used, or there is no such kind, criterion or method.
        NothingToCompress: when no layer has a choice.
    """
    _check("kind of sensitivity", [kind], KINDS)
    _check("criterion", criteria, CRITERIA)
    _check("method of decomposition", methods, METHODS)
    if plot is not None and Path(plot).suffix.lower() != ".png":
        raise ConfigError(f"the picture {plot} must be a .png file; give a name that ends in .png")
    if plot is not None and not Path(plot).parent.is_dir():
        raise ConfigError(f"the folder of the picture {plot} does not exist; make it, or give another --plot")
    with tempfile.TemporaryDirectory(prefix="autocompress-") as folder:
        options = {
            "preprocess": preprocess,
            "runtime": runtime,
            "threads": threads,
            "shapes": shapes,
            "latency_table": latency_table,
            "seed": seed,
            "output": Path(folder) / "out",
            "storage": str(Path(folder) / "study.db"),
        }
        request = settle(model, data, metric=metric, options=options)
        refuse_uncompressible(request.model)
        watching = progress or NullProgress()
        with quiet_optuna(), open_run(request, watching, announce=False) as run, run.make_executor() as executor:
            run.state.executor = executor
            found = _measured(run, kind, criteria, methods, points)
            document = {"model": str(model), "kind": kind, **found, "plot": None if plot is None else str(plot)}
            document["notices"] = list(run.state.notices)
    if plot is not None:
        _draw(Path(plot), document)
    return document


def _measured(run: OpenRun, kind: str, criteria: Sequence[str], methods: Sequence[str], points: int) -> dict[str, Any]:
    if kind == QUANTIZATION:
        from autocompress.api.layer_precisions import precision_rows

        return {"layers": precision_rows(run.state)}
    from autocompress.report.curves import by_place
    from autocompress.search.stems import curve_stage
    from autocompress.search.stems.curve_tasks import SampleCounts

    judge = curve_stage.begin(run.state)
    counts = SampleCounts(_DAMAGE_SAMPLES, _DROP_SAMPLES if _is_judged(run) else 0)
    if kind == PRUNING:
        curves = curve_stage.width_curves(run.state, criteria, points, counts)
    else:
        curves = curve_stage.rank_curves(run.state, methods, points, counts)
    ordered = by_place([curve.to_dict() for curve in curves]).values()
    return {
        "metric": judge.metric if counts.drop else None,
        "is_fraction": judge.is_fraction,
        "curves": [curve for place in ordered for curve in place],
    }


def _is_judged(run: OpenRun) -> bool:
    """Whether there is more to judge by than the original's outputs."""
    if run.request.metric is not None:
        return True
    source = open_source(run.request.data, input_specs(run.request.model))
    try:
        return source.has_labels
    finally:
        source.close()


def _draw(path: Path, document: dict[str, Any]) -> None:
    from autocompress.report.sensitivity_png import sensitivity_png

    try:
        write_bytes(path, sensitivity_png(document))
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror}); give another --plot") from error


def _check(what: str, given: Sequence[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise ConfigError(f"there is no {what} {name!r}; give one of {', '.join(known)}")
    if not given:
        raise ConfigError(f"no {what} is given; give any of {', '.join(known)}")

"""``autocompress sensitivity``: which layer loses the accuracy, which costs the time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autocompress.cli.output import Document, print_result, stdout_reserved
from autocompress.cli.parameters import (
    Json,
    LatencyTablePath,
    Metric,
    Model,
    Preprocess,
    Quiet,
    RuntimeName,
    Seed,
    Shape,
    Threads,
)

if TYPE_CHECKING:
    from rich.console import RenderableType


def sensitivity(
    model: Model,
    data: Annotated[
        str,
        typer.Option(
            "--data", metavar="SOURCE", help="Samples: an .npz file, a folder of images, or module.path:function."
        ),
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="quantization (each layer in each precision), pruning (each group of channels at several widths) or "
            "low_rank (each layer at several ranks).",
        ),
    ] = "quantization",
    criterion: Annotated[
        str,
        typer.Option(
            "--criterion",
            metavar="NAME,...",
            help="For pruning, which channels go: l1, l2, geometric_median, batch_norm_scale, activation, "
            "reconstruction, taylor, surgeon; a curve for each.",
        ),
    ] = "l2",
    method: Annotated[
        str,
        typer.Option(
            "--method", metavar="NAME,...", help="For low_rank, how layers are decomposed: svd, spatial, tucker2."
        ),
    ] = "svd,spatial",
    points: Annotated[int, typer.Option("--points", metavar="N", min=1, help="Points of each curve at most.")] = 4,
    metric: Metric = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="PNG", help="Draw the result into this file.")] = None,
    preprocess: Preprocess = None,
    runtime: RuntimeName = "onnxruntime",
    threads: Threads = 1,
    shape: Shape = None,
    latency_table: LatencyTablePath = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rank layers by the damage at the network's output when each alone is compressed, beside the time it saves.

    Labels are not needed: the damage is measured against the original model's own outputs. For pruning and low_rank it
    is measured at the widths and ranks that the runtime executes faster, and where labels or a metric are given, so is
    the accuracy that is lost.
    """
    import autocompress.api as api
    from autocompress.cli.progress import progress_on_stderr
    from autocompress.config import parse_shapes

    with stdout_reserved(), progress_on_stderr(quiet=quiet) as progress:
        document = api.sensitivity(
            model,
            data,
            kind=kind,
            criteria=_names(criterion),
            methods=_names(method),
            points=points,
            metric=metric,
            plot=plot,
            preprocess=preprocess,
            runtime=runtime,
            threads=threads,
            shapes=parse_shapes(shape or ()),
            latency_table=latency_table,
            seed=seed,
            progress=progress,
        )
    print_result(document, _show, as_json=as_json)


def _names(text: str) -> tuple[str, ...]:
    """Names separated by commas, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _show(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import sentences
    from autocompress.cli.sensitivity_view import show_curves, show_precisions

    yield from show_precisions(document["layers"]) if "layers" in document else show_curves(document)
    yield from sentences(document.get("notices", ()))

"""``autocompress sensitivity``: which layer loses the accuracy, which costs the time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from autocompress.cli.output import Document, print_result, stdout_reserved
from autocompress.cli.parameters import (
    Json,
    LatencyTablePath,
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
    preprocess: Preprocess = None,
    runtime: RuntimeName = "onnxruntime",
    threads: Threads = 1,
    shape: Shape = None,
    latency_table: LatencyTablePath = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rank layers by the damage at the network's output when each alone is compressed, beside the time it costs.

    Labels are not needed: the damage is measured against the original model's own outputs.
    """
    import autocompress.api as api
    from autocompress.cli.progress import progress_on_stderr
    from autocompress.config import parse_shapes

    with stdout_reserved(), progress_on_stderr(quiet=quiet) as progress:
        document = api.sensitivity(
            model,
            data,
            preprocess=preprocess,
            runtime=runtime,
            threads=threads,
            shapes=parse_shapes(shape or ()),
            latency_table=latency_table,
            seed=seed,
            progress=progress,
        )
    print_result(document, _show, as_json=as_json)


def _show(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import Column, milliseconds, number, percent, rows_table, sentences

    yield rows_table(
        document["layers"],
        [
            Column("name", "layer"),
            Column("op_type", "type"),
            Column("option", "option"),
            Column("damage", "damage", number, right=True),
            Column("latency_ms", "time", milliseconds, right=True),
            Column("share", "share", percent, right=True),
            Column("saved_ms", "would save", milliseconds, right=True),
        ],
    )
    yield from sentences(document.get("notices", ()))

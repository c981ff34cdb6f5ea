"""``autocompress inspect``: what a model is made of, as the runtime executes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autocompress.cli.output import Document, print_result, stdout_reserved
from autocompress.cli.parameters import BatchSize, Json, LatencyTablePath, Model, RuntimeName, Shape, Threads

if TYPE_CHECKING:
    from rich.console import RenderableType


def inspect(
    model: Model,
    runtime: RuntimeName = "onnxruntime",
    threads: Threads = 1,
    batch_size: BatchSize = 1,
    shape: Shape = None,
    latency_table: LatencyTablePath = None,
    graph: Annotated[
        Path | None, typer.Option("--graph", metavar="SVG", help="Draw the executed graph into this .svg file.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="MODEL",
            help="The model that this one was made from: say what was done to each layer, and mark it in the picture.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List a model's operators as the runtime executes them, after fusion.

    Prints shape, parameters, multiply-adds, dtype, zeros, estimated time and share of each, and the totals; where
    weights hold many zeros, also which elements, kernels and channels of each layer are zero, and what that is worth.
    """
    import autocompress.api as api
    from autocompress.config import parse_shapes

    with stdout_reserved():
        document = api.inspect(
            model,
            runtime=runtime,
            threads=threads,
            batch_size=batch_size,
            shapes=parse_shapes(shape or ()),
            latency_table=latency_table,
            graph=graph,
            against=against,
        )
    print_result(document, _show, as_json=as_json)


def _show(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layer_view import show_changes, show_zeros
    from autocompress.cli.layout import (
        Column,
        count,
        dimensions,
        facts_table,
        fixed_milliseconds,
        milliseconds,
        percent,
        rows_table,
        sentences,
        size,
    )

    yield rows_table(
        document["ops"],
        [
            # The runtime has names of its own; the user knows those of the model.
            Column("layer", "operator"),
            Column("op_type", "type"),
            Column("shape", "output", dimensions),
            Column("dtype", "dtype"),
            Column("parameters", "parameters", count, right=True),
            Column("macs", "multiply-adds", count, right=True),
            Column("sparsity", "zeros", percent, right=True),
            Column("latency_ms", "estimated", fixed_milliseconds, right=True),
            Column("share", "share", percent, right=True),
        ],
    )
    yield from show_zeros(document.get("layers", ()))
    if document.get("changes"):
        yield from show_changes(document["changes"])
    yield facts_table(
        document["totals"],
        [
            Column("ops", "operators"),
            Column("parameters", "parameters", count),
            Column("macs", "multiply-adds", count),
            Column("size_bytes", "size", size),
            Column("sparsity", "zeros", percent),
            Column("latency_ms", "estimated latency", milliseconds),
            Column("coverage", "coverage by the table", percent),
        ],
    )
    yield from sentences(document.get("notices", ()))

"""``autocompress estimate``: predict a model's latency without running it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autocompress.cli.output import Document, print_result, stdout_reserved
from autocompress.cli.parameters import BatchSize, Json, LatencyTablePath, Model, RuntimeName, Shape, Threads

if TYPE_CHECKING:
    from rich.console import RenderableType


def estimate(
    model: Model,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="PATH", help="Estimate MODEL as this recipe would make it.")
    ] = None,
    runtime: RuntimeName = "onnxruntime",
    threads: Threads = 1,
    batch_size: BatchSize = 1,
    shape: Shape = None,
    latency_table: LatencyTablePath = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Say which operators take the time and why, and what int8 would save, region by region."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Predict a model's latency on this device from its latency table and predictors.

    Prints the estimate with its 90 % interval and its coverage: the share of the time that exact table hits account
    for. Operators that neither table nor forest knows are timed on the spot.
    """
    import autocompress.api as api
    from autocompress.config import parse_shapes

    with stdout_reserved():
        document = api.estimate(
            model,
            recipe=recipe,
            runtime=runtime,
            threads=threads,
            batch_size=batch_size,
            shapes=parse_shapes(shape or ()),
            latency_table=latency_table,
            explain=explain,
        )
    print_result(document, _show, as_json=as_json)


def _show(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import Column, facts_table, interval_ms, milliseconds, percent, sentences

    yield facts_table(
        document,
        [
            Column("latency_ms", "estimated latency", milliseconds),
            Column("interval90_ms", "90 % interval", interval_ms),
            Column("coverage", "coverage by the table", percent),
            Column("nodes", "operators priced"),
            Column("table", "latency table"),
        ],
    )
    if document.get("ops"):
        from autocompress.cli.explain_view import show_explanation

        yield from show_explanation(document)
    yield from sentences(document.get("notices", ()))

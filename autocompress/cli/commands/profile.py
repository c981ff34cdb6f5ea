"""``autocompress profile``: fill the latency table of this device."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autocompress.cli.output import Document, print_result, stdout_reserved
from autocompress.cli.parameters import BatchSize, Json, Quiet, RuntimeName, Shape

if TYPE_CHECKING:
    from rich.console import RenderableType


def profile(
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="PATH", help="Only what this ONNX file and its compressed forms need."),
    ] = None,
    runtime: RuntimeName = "onnxruntime",
    threads: Annotated[
        str, typer.Option("--threads", metavar="N,...", help="Intra-op threads; for several, one table each is filled.")
    ] = "1",
    batch_size: BatchSize = 1,
    shape: Shape = None,
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="Time to spend: 90s, 10m, 1h.")] = "10m",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Table file, or a folder that exists; default: this device's tables in the cache.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure operators on this device and keep the times in its latency table.

    Ctrl-C loses nothing that was measured; the next call goes on from there.
    """
    import autocompress.api as api
    from autocompress.cli.progress import progress_on_stderr
    from autocompress.config import parse_shapes
    from autocompress.config.quantities import parse_counts, parse_duration_s

    with stdout_reserved(), progress_on_stderr(quiet=quiet) as progress:
        document = api.profile(
            model,
            runtime=runtime,
            threads=parse_counts("--threads", threads, at_most=1024),
            batch_size=batch_size,
            shapes=parse_shapes(shape or ()),
            budget_s=parse_duration_s(budget),
            output=output,
            progress=progress,
        )
    print_result(document, _show, as_json=as_json)


def _show(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import Column, facts_table, number, sentences

    for row in document["tables"]:
        yield facts_table(
            row,
            [
                Column("table", "latency table"),
                Column("threads", "threads"),
                Column("forms", "forms"),
                Column("records", "records in it"),
                Column("measured", "measured now"),
                Column("invalid", "could not be timed"),
                Column("remaining", "still to measure"),
                Column("seconds", "seconds", number),
            ],
        )
    yield from sentences(document.get("notices", ()))

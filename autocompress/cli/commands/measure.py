"""``autocompress measure``: time one model, or two against each other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autocompress.cli.output import Document, print_result, stdout_reserved
from autocompress.cli.parameters import BatchSize, Json, RuntimeName, Seed, Shape, Threads

if TYPE_CHECKING:
    from rich.console import RenderableType


def measure(
    a: Annotated[Path, typer.Argument(metavar="A", help="ONNX file; the reference when B is given.")],
    b: Annotated[Path | None, typer.Argument(metavar="B", help="ONNX file to compare with A.")] = None,
    runtime: RuntimeName = "onnxruntime",
    threads: Threads = 1,
    batch_size: BatchSize = 1,
    shape: Shape = None,
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="Time to spend: 10s, 2m.")] = "10s",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Time a model on this device; with two models, both in turn, so that drift hits both alike.

    Prints the median latency of each and, for two, the speedup of B over A with its 95 % interval.
    """
    import autocompress.api as api
    from autocompress.config import parse_shapes
    from autocompress.config.quantities import parse_duration_s

    with stdout_reserved():
        document = api.measure(
            a,
            b,
            runtime=runtime,
            threads=threads,
            batch_size=batch_size,
            shapes=parse_shapes(shape or ()),
            budget_s=parse_duration_s(budget),
            seed=seed,
        )
    print_result(document, _show, as_json=as_json)


def _show(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import Column, factor, facts_table, interval_of_factors, milliseconds, rows_table

    rows = [{"side": side.upper(), **document[side]} for side in ("a", "b") if document.get(side)]
    yield rows_table(
        rows,
        [
            Column("side", ""),
            Column("model", "model"),
            Column("latency_ms", "latency", milliseconds, right=True),
            Column("minimum_ms", "fastest", milliseconds, right=True),
            Column("spread_ms", "spread", milliseconds, right=True),
            Column("repeats", "repeats", right=True),
            Column("clock", "clock"),
        ],
    )
    yield facts_table(
        document,
        [
            Column("speedup", "speedup of B", factor),
            Column("speedup_ci95", "95 % interval", interval_of_factors),
        ],
    )

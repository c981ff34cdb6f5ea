"""``autocompress predictor``: forests that price what no table knows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autocompress.cli.output import Document, print_result, stdout_reserved
from autocompress.cli.parameters import Json

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(help="Train latency predictors.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Train latency predictors."""


@app.command("train")
def train_predictor(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Table file, or its name as `table list` shows it.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PATH", help="Folder; beside the table's own by default.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the forests.")] = 0,
    as_json: Json = False,
) -> None:
    """Train the forests of a latency table; the same table gives the same bytes."""
    import autocompress.api as api

    with stdout_reserved():
        document = api.predictors.train(table, output=output, seed=seed)
    print_result(document, _show, as_json=as_json)


def _show(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import Column, percent, rows_table, sentences

    yield rows_table(
        document["families"],
        [
            Column("family", "family"),
            Column("rows", "records", right=True),
            Column("mape", "error (cross-validated)", percent, right=True),
            Column("within_10_percent", "within 10 %", percent, right=True),
        ],
    )
    yield from sentences([f"predictors are in {document['folder']}"])

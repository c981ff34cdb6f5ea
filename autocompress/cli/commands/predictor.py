"""``autocompress predictor``: forests that price what no table knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autocompress.cli.output import print_result, stdout_reserved
from autocompress.cli.parameters import Json

app = typer.Typer(help="Train latency predictors and say how good they are.", no_args_is_help=True)

_Table = Annotated[Path, typer.Argument(metavar="TABLE", help="Table file, or its name as `table list` shows it.")]
_Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the forests.")]


@app.callback()
def _group() -> None:
    """Train latency predictors and say how good they are."""


@app.command("train")
def train_predictor(
    table: _Table,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PATH", help="Folder; beside the table's own by default.")
    ] = None,
    seed: _Seed = 0,
    as_json: Json = False,
) -> None:
    """Train the forests of a latency table; the same table gives the same bytes."""
    import autocompress.api as api
    from autocompress.cli.predictor_views import show_training

    with stdout_reserved():
        document = api.predictors.train(table, output=output, seed=seed)
    print_result(document, show_training, as_json=as_json)


@app.command("evaluate")
def evaluate_predictor(table: _Table, seed: _Seed = 0, as_json: Json = False) -> None:
    """Judge the forests of a latency table by leaving out one architecture family after the other; nothing is timed."""
    import autocompress.api as api
    from autocompress.cli.predictor_views import show_evaluation

    with stdout_reserved():
        document = api.predictors.evaluate_table(table, seed=seed)
    print_result(document, show_evaluation, as_json=as_json)

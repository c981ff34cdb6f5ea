"""``autocompress apply``: make a recipe's candidate again, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autocompress.cli.output import Document, print_result, stdout_reserved
from autocompress.cli.parameters import Data, Json, Preprocess

if TYPE_CHECKING:
    from rich.console import RenderableType


def apply(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="recipe.json of a run.")],
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="ONNX file that the recipe was made for.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="Where the candidate is written.")],
    data: Data = None,
    preprocess: Preprocess = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Write it in floating point, rounding as the integers do, to study it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Apply a recipe to its model; the result is the emitted candidate, bit for bit.

    The recipe carries its ranges, so samples are only needed by steps that say so.
    """
    import autocompress.api as api

    with stdout_reserved():
        document = api.apply_recipe(recipe, model, output, data=data, preprocess=preprocess, simulate=simulate)
    print_result(document, _show, as_json=as_json)


def _show(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import Column, facts_table, listing, size

    yield facts_table(
        document,
        [
            Column("model", "written"),
            Column("size_bytes", "size", size),
            Column("steps", "steps", listing),
            Column("sha256", "sha256"),
        ],
    )

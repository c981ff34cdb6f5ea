"""``autocompress report``: a study as pages, pictures and tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autocompress.cli.output import Document, print_result, stdout_reserved
from autocompress.cli.parameters import DEFAULT_STORAGE, Json, Storage, Study

if TYPE_CHECKING:
    from rich.console import RenderableType


def report(
    study: Study,
    formats: Annotated[
        str,
        typer.Option("--format", "-f", metavar="LIST", help="Any of html,png,csv,json,md, separated by commas."),
    ] = "html",
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for the files.")] = Path(
        "autocompress-out"
    ),
    storage: Storage = DEFAULT_STORAGE,
    as_json: Json = False,
) -> None:
    """Write a study's report: an offline page, the Pareto picture, the trials as a table."""
    import autocompress.api as api

    with stdout_reserved():
        document = api.report(study, storage=storage, formats=_names(formats), output=output)
    print_result(document, _show, as_json=as_json)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))


def _show(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import sentences

    return sentences(str(path) for path in document["files"])

"""``autocompress table``: the latency tables that are here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autocompress.cli.output import Document, print_result, stdout_reserved
from autocompress.cli.parameters import Json

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(help="List, show and validate latency tables.", no_args_is_help=True)

_Table = Annotated[Path, typer.Argument(metavar="TABLE", help="Table file, or its name as `table list` shows it.")]


@app.command("list")
def list_tables(as_json: Json = False) -> None:
    """List the tables that are here: shipped, and measured on this device."""
    import autocompress.api as api

    with stdout_reserved():
        document = {"tables": api.tables.list_tables()}
    print_result(document, _show_list, as_json=as_json)


@app.command("show")
def show_table(table: _Table, as_json: Json = False) -> None:
    """Show where a table comes from and what it holds, by operator type."""
    import autocompress.api as api

    with stdout_reserved():
        document = api.tables.show_table(table)
    print_result(document, _show_table, as_json=as_json)


@app.command("validate")
def validate_table(table: _Table, as_json: Json = False) -> None:
    """Check a table against its schema; a faulty one is named with its fault and exits with 2."""
    import autocompress.api as api

    with stdout_reserved():
        document = api.tables.validate_table(table)
    print_result(document, _show_validity, as_json=as_json)


def _show_list(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import Column, rows_table

    yield rows_table(
        document["tables"],
        [
            Column("name", "latency table"),
            Column("device", "device"),
            Column("runtime", "runtime"),
            Column("version", "version"),
            Column("threads", "threads", right=True),
            Column("records", "records", right=True),
            Column("matches", "fits this device", lambda fits: "yes" if fits else "no"),
            Column("path", "file"),
        ],
    )


def _show_table(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import Column, facts_table, rows_table

    provenance = document.get("provenance", {})
    yield facts_table(provenance, [Column(key, key.replace("_", " ")) for key in provenance])
    yield rows_table(
        document.get("ops", ()),
        [
            Column("op_type", "type"),
            Column("records", "records", right=True),
            Column("valid", "valid", right=True),
        ],
    )


def _show_validity(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import sentences

    yield from sentences([f"{document['path']} is valid: {document['records']} records"])

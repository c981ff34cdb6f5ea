"""``autocompress table``: the latency tables that are here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autocompress.cli.output import print_result, stdout_reserved
from autocompress.cli.parameters import Json

app = typer.Typer(help="List, show, validate, merge and compare latency tables.", no_args_is_help=True)

_Table = Annotated[Path, typer.Argument(metavar="TABLE", help="Table file, or its name as `table list` shows it.")]
_Limit = Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Operators per listing; 0 for all.")]


@app.command("list")
def list_tables(as_json: Json = False) -> None:
    """List the tables that are here: shipped, and measured on this device."""
    import autocompress.api as api
    from autocompress.cli.table_views import show_list

    with stdout_reserved():
        document = {"tables": api.tables.list_tables()}
    print_result(document, show_list, as_json=as_json)


@app.command("show")
def show_table(
    table: _Table,
    family: Annotated[
        str | None, typer.Option("--family", metavar="NAME", help="Only operators of this family.")
    ] = None,
    op_type: Annotated[str | None, typer.Option("--op", metavar="TYPE", help="Only operators of this type.")] = None,
    invalid: Annotated[
        bool, typer.Option("--invalid", help="Only operators whose times must not be used, and why.")
    ] = False,
    limit: _Limit = 20,
    as_json: Json = False,
) -> None:
    """Show where a table comes from, what its families hold, and its operators, the slowest first."""
    import autocompress.api as api
    from autocompress.cli.table_views import show_one

    with stdout_reserved():
        document = api.tables.show_table(table, family=family, op_type=op_type, invalid=invalid, limit=limit)
    print_result(document, show_one, as_json=as_json)


@app.command("validate")
def validate_table(table: _Table, as_json: Json = False) -> None:
    """Check every line of a table; each fault is named with its line, and a faulty table exits with 2."""
    import autocompress.api as api
    from autocompress.cli.table_views import show_validity
    from autocompress.errors import TableError

    with stdout_reserved():
        document = api.tables.validate_table(table)
    print_result(document, show_validity, as_json=as_json)
    if not document["valid"]:
        count = len(document["faults"])
        raise TableError(f"{document['path']} has {count} {'faults' if count > 1 else 'fault'}")


@app.command("merge")
def merge_tables(
    tables: Annotated[
        list[Path], typer.Argument(metavar="TABLES...", help="Table files, or their names as `table list` shows them.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="Table to write; may be one of those given.")
    ],
    prefer: Annotated[
        str,
        typer.Option(
            "--prefer", metavar="RULE", help="Of two valid records of one operator count the fastest, first or last."
        ),
    ] = "fastest",
    as_json: Json = False,
) -> None:
    """Join tables of one device, runtime, version and thread count; what their journals hold is taken in."""
    import autocompress.api as api
    from autocompress.cli.table_views import show_merge

    with stdout_reserved():
        document = api.tables.merge_tables(tables, output, prefer=prefer)
    print_result(document, show_merge, as_json=as_json)


@app.command("diff")
def diff_tables(
    a: Annotated[Path, typer.Argument(metavar="A", help="Table file or name.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Table file or name, of any device or runtime.")],
    limit: _Limit = 10,
    as_json: Json = False,
) -> None:
    """Compare the times of two tables: by family, the largest differences, and what only one of them has."""
    import autocompress.api as api
    from autocompress.cli.table_views import show_difference

    with stdout_reserved():
        document = api.tables.diff_tables(a, b, limit=limit)
    print_result(document, show_difference, as_json=as_json)

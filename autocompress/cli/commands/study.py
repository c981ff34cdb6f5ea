"""``autocompress study``: the studies in a database."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autocompress.cli.output import Document, print_result, stdout_reserved
from autocompress.cli.parameters import DEFAULT_STORAGE, Json, Storage, Study

if TYPE_CHECKING:
    from rich.console import RenderableType

    from autocompress.cli.layout import Column

app = typer.Typer(help="List, show, export and delete studies.", no_args_is_help=True)


@app.command("list")
def list_studies(storage: Storage = DEFAULT_STORAGE, as_json: Json = False) -> None:
    """List the studies of a database."""
    import autocompress.api as api

    with stdout_reserved():
        document = {"studies": api.studies.list_studies(storage)}
    print_result(document, _show_list, as_json=as_json)


@app.command("show")
def show_study(study: Study, storage: Storage = DEFAULT_STORAGE, as_json: Json = False) -> None:
    """Show what a study was asked to do and how it ended."""
    import autocompress.api as api

    with stdout_reserved():
        document = api.studies.show_study(study, storage)
    print_result(document, _show_study, as_json=as_json)


@app.command("trials")
def list_trials(study: Study, storage: Storage = DEFAULT_STORAGE, as_json: Json = False) -> None:
    """List a study's trials with what was estimated and measured."""
    import autocompress.api as api

    with stdout_reserved():
        document = {"study": study, "trials": api.studies.list_trials(study, storage)}
    print_result(document, _show_trials, as_json=as_json)


@app.command("best")
def best_trial(study: Study, storage: Storage = DEFAULT_STORAGE, as_json: Json = False) -> None:
    """Show the best verified result of a study."""
    import autocompress.api as api

    with stdout_reserved():
        document = api.studies.best_trial(study, storage)
    print_result(document, _show_best, as_json=as_json)


@app.command("export")
def export_study(
    study: Study,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="JSON file to write.")],
    storage: Storage = DEFAULT_STORAGE,
    as_json: Json = False,
) -> None:
    """Write everything known about a study as one JSON document."""
    import autocompress.api as api

    with stdout_reserved():
        document = api.studies.export_study(study, output, storage)
    print_result(document, _show_file, as_json=as_json)


@app.command("delete")
def delete_study(
    study: Study,
    storage: Storage = DEFAULT_STORAGE,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a study and its trials from the database; emitted files stay."""
    import autocompress.api as api

    with stdout_reserved():
        if not yes:
            _confirm(f"Delete study '{study}' from {storage}?")
        document = api.studies.delete_study(study, storage)
    print_result(document, _show_deleted, as_json=as_json)


def _confirm(question: str) -> None:
    from autocompress.errors import ConfigError

    try:
        if typer.confirm(question, err=True):
            return
    except typer.Abort:
        typer.echo(err=True)  # the question's line has no end
        if not sys.stdin.isatty():
            raise ConfigError("nobody is there to answer, so nothing was deleted; give --yes") from None
    raise typer.Abort


def _show_list(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import Column, factor, rows_table

    yield rows_table(
        document["studies"],
        [
            Column("study", "study"),
            Column("model", "model"),
            Column("status", "status"),
            Column("trials", "trials", right=True),
            Column("target_speedup", "target", factor, right=True),
            Column("speedup", "best", factor, right=True),
            Column("speedup_estimate", "best, estimated", factor, right=True),
            Column("latency_status", "its speed is"),
            Column("created", "created"),
        ],
    )


def _show_study(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import Column, facts_table
    from autocompress.report.terminal import show_summary

    yield facts_table(
        document,
        [
            Column("study", "study"),
            Column("status", "status"),
            Column("stop_reason", "because"),
            Column("model", "model"),
            Column("runtime", "runtime"),
            Column("device", "device"),
            Column("trials", "trials"),
            Column("created", "created"),
            Column("updated", "updated"),
        ],
    )
    if document.get("summary"):
        yield from show_summary(document["summary"])


def _trial_columns() -> list[Column]:
    from autocompress.cli.layout import Column, factor, milliseconds, number, size

    return [
        Column("number", "trial", right=True),
        Column("state", "state"),
        Column("origin", "from"),
        Column("speedup", "speedup", factor, right=True),
        Column("speedup_estimate", "speedup, estimated", factor, right=True),
        Column("latency_ms", "latency", milliseconds, right=True),
        Column("latency_estimate_ms", "estimated", milliseconds, right=True),
        Column("accuracy", "accuracy", number, right=True),
        Column("accuracy_drop", "drop", number, right=True),
        Column("size_bytes", "size", size, right=True),
        Column("reason", "reason"),
    ]


def _show_trials(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import rows_table

    yield rows_table(document["trials"], _trial_columns())


def _show_best(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import Column, facts_table

    yield facts_table(
        document,
        [*_trial_columns(), Column("latency_status", "speed is"), Column("model", "model"), Column("recipe", "recipe")],
    )


def _show_file(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import sentences

    yield from sentences([str(document["path"])])


def _show_deleted(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import sentences

    yield from sentences([f"deleted study '{document['study']}'"])

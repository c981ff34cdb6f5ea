"""The command tree and the entry point."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import typer

import autocompress
from autocompress.cli.commands import (
    apply,
    doctor,
    estimate,
    inspect,
    measure,
    predictor,
    profile,
    report,
    run,
    sensitivity,
    study,
    table,
)
from autocompress.cli.failures import exit_code_of
from autocompress.cli.streams import prepare_standard_streams

app = typer.Typer(
    name="autocompress",
    help="Finds a smaller, faster ONNX model that was measured to be so on this device, within your accuracy budget.",
    epilog="Exit codes: 0 target met and verified; 3 not reachable; 2 bad input or usage; 1 our fault.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"autocompress {autocompress.__version__}")
        raise typer.Exit


def _flowing(docstring: str) -> str:
    """A docstring whose paragraphs are one line each, for the terminal to wrap."""
    paragraphs = re.split(r"\n\s*\n", docstring.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Finds a smaller, faster ONNX model that was measured to be so on this device, within your accuracy budget."""


for _command in (
    run.run,
    measure.measure,
    estimate.estimate,
    inspect.inspect,
    sensitivity.sensitivity,
    profile.profile,
    apply.apply,
    report.report,
    doctor.doctor,
):
    app.command(_command.__name__, help=_flowing(_command.__doc__ or ""))(_command)
app.add_typer(study.app, name="study")
app.add_typer(table.app, name="table")
app.add_typer(predictor.app, name="predictor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line without the program's name; None takes it from ``sys.argv``.

    Returns:
        0 target met; 3 not reachable; 2 bad input or usage; 1 our fault; 130 interrupted; 141 reader gone.
    """
    if arguments is None:
        prepare_standard_streams()
    return exit_code_of(typer.main.get_command(app), arguments)

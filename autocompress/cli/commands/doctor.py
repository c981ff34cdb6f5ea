"""``autocompress doctor``: what this device has, and what fits it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from autocompress.cli.output import Document, print_result, stdout_reserved
from autocompress.cli.parameters import Json

if TYPE_CHECKING:
    from rich.console import RenderableType


def doctor(as_json: Json = False) -> None:
    """Say what is here: device, instruction sets, runtimes, versions, and the latency tables that match."""
    import autocompress.api as api

    with stdout_reserved():
        document = api.doctor()
    print_result(document, _show, as_json=as_json)


def _show(document: Document) -> Iterable[RenderableType]:
    from autocompress.cli.layout import Column, facts_table, listing, rows_table, sentences

    yield facts_table(
        document,
        [
            Column("device.name", "device"),
            Column("device.architecture", "architecture"),
            Column("device.isa", "instruction sets", listing),
            Column("device.cores", "cores"),
            Column("device.fingerprint", "fingerprint"),
        ],
    )
    yield rows_table(
        document.get("runtimes", ()),
        [Column("name", "runtime"), Column("version", "version"), Column("problem", "problem")],
    )
    yield rows_table(
        [{"package": name, "version": version} for name, version in document.get("versions", {}).items()],
        [Column("package", "package"), Column("version", "version")],
    )
    yield rows_table(
        document.get("tables", ()),
        [
            Column("name", "latency table"),
            Column("runtime", "runtime"),
            Column("threads", "threads", right=True),
            Column("records", "records", right=True),
            Column("matches", "fits this device", lambda fits: "yes" if fits else "no"),
            Column("reason", "why not"),
        ],
    )
    yield from sentences(document.get("notices", ()))

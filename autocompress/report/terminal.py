"""The end of a run in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from autocompress.report.comparison import compare
from autocompress.report.verdict import Tone, verdict

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_STYLES: dict[Tone, str] = {
    "met": "bold green",
    "estimated": "bold yellow",
    "missed": "bold yellow",
    "explored": "bold cyan",
    "unfinished": "bold yellow",
}


def show_summary(summary: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What to print: the verdict, baseline against best, what to know, and where the model is."""
    from rich.text import Text

    found = verdict(summary)
    yield Text(found.headline, style=_STYLES[found.tone])
    if summary.get("best"):
        yield end_table(summary)
    unchanged = (summary.get("best") or {}).get("unchanged")
    if (unchanged or found.tone in ("missed", "unfinished")) and summary.get("stop_reason"):
        yield Text(str(summary["stop_reason"]))
    for notice in summary.get("notices") or ():
        yield Text(f"note: {notice}", style="yellow")
    model = (summary.get("best") or {}).get("model")
    if model:
        yield Text(f"model: {model}")


def end_table(summary: Mapping[str, Any]) -> Table:
    """Baseline against best: metric, latency measured and estimated, size; each change with its interval."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "baseline", "best", "change", "95 % interval"):
        table.add_column(heading, justify="left" if heading == "" else "right", no_wrap=heading != "")
    for row in compare(summary):
        cells = (row.label, row.baseline, row.best, row.change, row.interval)
        table.add_row(*(Text(cell) for cell in cells))  # Text: brackets in names are no markup
    return table

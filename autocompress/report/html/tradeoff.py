"""The Pareto picture and its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autocompress.report.html.markup import Cell, Column, Markup, chart, details, join, paragraph, section, table
from autocompress.report.html.pareto_chart import pareto
from autocompress.report.points import Point, Points
from autocompress.report.recipes import describe_recipe
from autocompress.report.verdict import summary_scale
from autocompress.report.window import drop_window, out_of_window
from autocompress.report.wording import MISSING, Scale, milliseconds, plural, size, times, times_interval


def tradeoff(points: Points, summary: Mapping[str, Any]) -> Markup:
    """Speedup against accuracy: a picture, how to read it, and a table of the front and of what was verified."""
    hidden = out_of_window(points, drop_window(points, summary))
    note = f" {plural(hidden, 'candidate')} with a larger drop lie outside the first view." if hidden else ""
    scale = summary_scale(summary)
    verified = _verified_table(points, scale) if points.verified else paragraph("Nothing was verified.", kind="empty")
    return section(
        "Speed against accuracy",
        "tradeoff",
        paragraph(
            "Up and to the right is better; the shaded corner keeps both the target and the accuracy budget. Filled "
            "marks are measured, open marks and crosses are estimated. Point at a mark to see its recipe; drag to "
            f"zoom, double-click to see everything.{note}",
            kind="note",
        ),
        chart("pareto", pareto(points, summary), "Speedup against change of accuracy for every candidate"),
        verified,
        details(f"Front of the search part ({plural(len(points.front), 'candidate')})", _front_table(points, scale)),
    )


def _verified_table(points: Points, scale: Scale) -> Markup:
    columns = [
        Column("Trial", numeric=True),
        Column("Speedup", numeric=True, hint="timed in turns with the original"),
        Column("95 % interval", numeric=True),
        Column("Drop", numeric=True, hint="on the verification part"),
        Column("95 % interval", numeric=True),
        Column("n", numeric=True),
        Column("Latency", numeric=True),
        Column("Size", numeric=True),
        Column("Recipe"),
    ]
    return table(columns, [_verified_row(p, scale) for p in points.verified], caption="Verified candidates.")


def _verified_row(point: Point, scale: Scale) -> list[Cell | object]:
    candidate = point.candidate
    return [
        Cell(candidate.trial),
        Cell(times(point.speedup), point.speedup),
        times_interval(point.speedup_interval),
        Cell(scale.drop(point.drop), point.drop),
        scale.interval(point.drop_interval),
        candidate.verified_drop.n if candidate.verified_drop else MISSING,
        Cell(milliseconds(point.latency_ms), point.latency_ms),
        Cell(size(candidate.size_bytes), candidate.size_bytes),
        describe_recipe(candidate.recipe),
    ]


def _front_table(points: Points, scale: Scale) -> Markup:
    kind = "measured" if points.front_is_measured else "estimated"
    columns = [
        Column("Trial", numeric=True),
        Column(f"Speedup, {kind}", numeric=True),
        Column("Drop, measured", numeric=True),
        Column(f"Latency, {kind}", numeric=True),
        Column("Size", numeric=True),
        Column("Recipe"),
    ]
    rows = [
        [
            Cell(p.candidate.trial),
            Cell(times(p.speedup), p.speedup),
            Cell(scale.drop(p.drop), p.drop),
            Cell(milliseconds(p.latency_ms), p.latency_ms),
            Cell(size(p.candidate.size_bytes), p.candidate.size_bytes),
            describe_recipe(p.candidate.recipe),
        ]
        for p in points.front
    ]
    if not rows:
        return paragraph("No candidate was evaluated.", kind="empty")
    return join([table(columns, rows, caption="Candidates that no other beats in both speed and accuracy.")])

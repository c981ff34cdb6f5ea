"""The Pareto picture and its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autocompress.report.html.markup import (
    Cell,
    Column,
    Markup,
    chart,
    details,
    element,
    join,
    paragraph,
    section,
    table,
)
from autocompress.report.html.pareto_chart import pareto
from autocompress.report.points import Point, Points
from autocompress.report.recipes import RecipeLabels, describe_recipe
from autocompress.report.verdict import summary_scale
from autocompress.report.window import drop_window, out_of_window
from autocompress.report.wording import Scale, milliseconds, plural, size, times, times_interval
from autocompress.store.records import NOT_VERIFIED, CandidateRecord


def tradeoff(points: Points, labels: RecipeLabels, summary: Mapping[str, Any]) -> Markup:
    """Speedup against accuracy: a picture, how to read it, and a table of the front and of what was verified."""
    hidden = out_of_window(points, drop_window(points, summary))
    note = f" {plural(hidden, 'candidate')} with a larger drop lie outside the first view." if hidden else ""
    return section(
        "Speed against accuracy",
        "tradeoff",
        paragraph(
            "Up and to the right is better; the shaded corner keeps both the target and the accuracy budget. Filled "
            "marks are measured, open marks and crosses are estimated. Point at a mark to see its recipe; drag to "
            f"zoom, double-click to go back.{note}",
            kind="note",
        ),
        chart("pareto", pareto(points, summary), "Speedup against change of accuracy for every candidate"),
        *_finalists(points, labels, summary),
        details(
            f"Front of the search part ({plural(len(points.front), 'candidate')})",
            _front_table(points, labels, summary_scale(summary)),
        ),
    )


def recipe_cell(candidate: CandidateRecord, labels: RecipeLabels) -> Markup:
    """What sets the recipe apart; the whole recipe on hover."""
    return element("span", labels(candidate.recipe), title=describe_recipe(candidate.recipe))


def _finalists(points: Points, labels: RecipeLabels, summary: Mapping[str, Any]) -> list[Markup]:
    """What was verified, and apart from it what only estimates say is fast."""
    parts = []
    if points.verified or not points.unverified:
        parts += [element("h3", "Verified candidates"), _verified_table(points.verified, labels, summary)]
    if points.unverified:
        title = "Finalists: accuracy verified, speed estimated, not verified"
        parts += [element("h3", title), _verified_table(points.unverified, labels, summary)]
    return parts


def _verified_table(finalists: Sequence[Point], labels: RecipeLabels, summary: Mapping[str, Any]) -> Markup:
    if not finalists:
        return paragraph("Nothing was verified.", kind="empty")
    scale, emitted = summary_scale(summary), (summary.get("best") or {}).get("trial")
    if finalists[0].estimated:
        kind, how = f", {NOT_VERIFIED}", "baseline estimate over estimate, with its 90 % interval"
    else:
        kind, how = "", "timed in turns with the original, with its 95 % interval"
    columns = [
        Column("Trial", numeric=True),
        Column(f"Speedup{kind}", numeric=True, hint=how),
        Column("Drop", numeric=True, hint="on the verification part, with its 95 % interval"),
        Column(f"Latency{kind}", numeric=True),
        Column("Size", numeric=True),
        Column("Compressed", numeric=True, hint="the file compressed by deflate, for transfer"),
        Column("Recipe", wide=True),
    ]
    order = sorted(finalists, key=lambda p: (p.candidate.trial != emitted, -p.speedup))
    rows = [_verified_row(p, labels, scale, emitted) for p in order]
    caption = "Finalists, their speed estimated" if finalists[0].estimated else "Verified candidates"
    return table(columns, rows, caption=f"{caption}; the emitted one first.")


def _verified_row(point: Point, labels: RecipeLabels, scale: Scale, emitted: int | None) -> list[Cell | object]:
    candidate = point.candidate
    badge = [element("span", "emitted", class_="state complete"), " "] if candidate.trial == emitted else []
    return [
        Cell(join([*badge, candidate.trial], ""), candidate.trial),
        Cell(_with_interval(times(point.speedup), times_interval(point.speedup_interval)), point.speedup),
        Cell(_with_interval(scale.drop(point.drop), scale.interval(point.drop_interval)), point.drop),
        Cell(milliseconds(point.latency_ms), point.latency_ms),
        Cell(size(candidate.size_bytes), candidate.size_bytes),
        Cell(size(candidate.deflate_bytes), candidate.deflate_bytes),
        recipe_cell(candidate, labels),
    ]


def _with_interval(value: str, interval: str) -> Markup:
    return join([value, element("small", interval)], "")


def _front_table(points: Points, labels: RecipeLabels, scale: Scale) -> Markup:
    kind = "measured" if points.front_is_measured else "estimated"
    columns = [
        Column("Trial", numeric=True),
        Column(f"Speedup, {kind}", numeric=True),
        Column("Drop, measured", numeric=True),
        Column(f"Latency, {kind}", numeric=True),
        Column("Size", numeric=True),
        Column("Recipe", wide=True),
    ]
    rows = [
        [
            Cell(p.candidate.trial),
            Cell(times(p.speedup), p.speedup),
            Cell(scale.drop(p.drop), p.drop),
            Cell(milliseconds(p.latency_ms), p.latency_ms),
            Cell(size(p.candidate.size_bytes), p.candidate.size_bytes),
            recipe_cell(p.candidate, labels),
        ]
        for p in points.front
    ]
    if not rows:
        return paragraph("No candidate was evaluated.", kind="empty")
    return table(columns, rows, caption="Candidates that no other beats in both speed and accuracy.")

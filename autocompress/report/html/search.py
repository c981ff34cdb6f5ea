"""How the search went: every trial, what was left out and why, what failed and of what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autocompress.report.html.charts import history
from autocompress.report.html.markup import Cell, Column, Markup, chart, details, element, paragraph, section, table
from autocompress.report.html.tradeoff import recipe_cell
from autocompress.report.points import Points
from autocompress.report.recipes import RecipeLabels
from autocompress.report.verdict import summary_scale
from autocompress.report.wording import MISSING, Scale, milliseconds, plural, seconds, size, times
from autocompress.store.records import CandidateRecord, StudyRecord

_COLUMNS = [
    Column("Trial", numeric=True),
    Column("State"),
    Column("From", hint="seed: integer programming; explore: built after screening; screen: priced only"),
    Column("Drop, predicted", numeric=True),
    Column("Drop, search part", numeric=True),
    Column("Latency, estimated", numeric=True),
    Column("Speedup, estimated", numeric=True, hint="where nothing timed on this machine counts"),
    Column("Latency, measured", numeric=True),
    Column("Speedup, measured", numeric=True),
    Column("Size", numeric=True),
    Column("Build", numeric=True),
    Column("Evaluate", numeric=True),
    Column("Recipe", wide=True),
]


def search(record: StudyRecord, points: Points, labels: RecipeLabels, summary: Mapping[str, Any]) -> Markup:
    """The trials in order, as a picture and as a table."""
    candidates = record.candidates
    if not candidates:
        return section("Search", "search", paragraph("No trial was run.", kind="empty"))
    scale = summary_scale(summary)
    trials = summary.get("trials") or {}
    sentence = (
        f"{plural(len(candidates), 'trial')}: {trials.get('complete', 0)} evaluated, {trials.get('pruned', 0)} pruned "
        f"before or while evaluating, {trials.get('failed', 0)} failed; {trials.get('built', 0)} models were built."
    )
    figure = history(candidates, points, summary.get("max_accuracy_drop"), scale)
    picture = chart("history", figure, "Speedup of each trial in order") if figure["data"] else ""
    speeds = {p.candidate.trial: p.speedup for p in points.searched}
    rows = [_row(candidate, labels, scale, speeds.get(candidate.trial)) for candidate in candidates]
    return section(
        "Search",
        "search",
        paragraph(sentence, kind="note"),
        picture,
        details("All trials", table(_COLUMNS, rows, caption="Every trial of the study.")),
    )


def failures(candidates: Sequence[CandidateRecord]) -> Markup:
    """Causes of failed and of pruned trials, the most frequent first."""
    parts: list[Markup] = []
    for state, title in (("failed", "Failed"), ("pruned", "Pruned")):
        chosen = [candidate for candidate in candidates if candidate.state == state]
        if chosen:
            heading = f"{title}: {plural(len(chosen), 'trial')}"
            parts.append(element("div", element("h3", heading), _causes(chosen, f"{title} trials by cause.")))
    if not parts:
        parts.append(paragraph("No trial failed and none was pruned.", kind="empty"))
    return section("Failures and pruned trials", "failures", *parts)


def _causes(candidates: Sequence[CandidateRecord], caption: str) -> Markup:
    by_cause: dict[str, list[int]] = {}
    for candidate in candidates:
        by_cause.setdefault(candidate.cause or "no cause was recorded", []).append(candidate.trial)
    rows: list[list[Cell | object]] = [
        [Cell(len(trials)), cause, _numbers(trials)]
        for cause, trials in sorted(by_cause.items(), key=lambda item: -len(item[1]))
    ]
    return table([Column("Trials", numeric=True), Column("Cause", wide=True), Column("Numbers")], rows, caption=caption)


def _numbers(trials: Sequence[int], most: int = 12) -> str:
    shown = ", ".join(map(str, trials[:most]))
    return shown if len(trials) <= most else f"{shown}, ... ({len(trials) - most} more)"


def _row(candidate: CandidateRecord, labels: RecipeLabels, scale: Scale, speedup: float | None) -> list[Cell | object]:
    estimate, drop, latency = candidate.estimate, candidate.search_drop, candidate.latency
    timed = candidate.search_speedup.b if candidate.search_speedup else latency
    return [
        candidate.trial,
        element("span", candidate.state, class_=f"state {candidate.state}", title=candidate.cause),
        candidate.origin,
        _cell(candidate.predicted_drop, scale.drop),
        _cell(drop.drop if drop else None, scale.drop),
        _cell(estimate.latency_ms if estimate else None, milliseconds),
        _cell(candidate.estimated_speedup.speedup if candidate.estimated_speedup else None, times),
        _cell(timed.latency_ms if timed else None, milliseconds),
        _cell(speedup, times),
        _cell(candidate.size_bytes, size),
        _cell(candidate.build_s, seconds),
        _cell(candidate.evaluate_s, seconds),
        recipe_cell(candidate, labels),
    ]


def _cell(value: float | None, text: Any) -> Cell:
    return Cell(MISSING if value is None else text(value), value)

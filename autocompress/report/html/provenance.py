"""Where the numbers come from and how to get them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autocompress.report.html.markup import (
    Cell,
    Column,
    Markup,
    code,
    details,
    element,
    json_block,
    paragraph,
    section,
    table,
)
from autocompress.report.recipes import describe_steps
from autocompress.report.speed import best_speed
from autocompress.report.verdict import target_words
from autocompress.report.wording import MISSING, moment, percent, plural, seconds, size
from autocompress.store.records import MEASURED, StudyRecord


def recipe(record: StudyRecord, summary: Mapping[str, Any]) -> Markup:
    """What was done to the model, step by step."""
    number = (summary.get("best") or {}).get("trial")
    chosen = next((c for c in record.candidates if c.trial == number), None) if number is not None else None
    if chosen is None:
        return section("Recipe", "recipe", paragraph("The model was not changed.", kind="empty"))
    return section(
        "Recipe",
        "recipe",
        element("ol", *(element("li", step) for step in describe_steps(chosen.recipe)), class_="steps"),
        paragraph("Recipe ", element("code", chosen.recipe_hash), f", trial {chosen.trial}.", kind="note"),
        details("As data", json_block(list(chosen.recipe))),
    )


def reproduce(summary: Mapping[str, Any]) -> Markup:
    """The commands."""
    best, study = summary.get("best") or {}, summary.get("study")
    commands = []
    if summary.get("command"):
        commands.append(f"# the whole run\n{summary['command']}")
    if best.get("recipe"):
        commands.append(
            f"# the same bytes again\nautocompress apply {best['recipe']} MODEL.onnx -o {best.get('model')}"
        )
    if best.get("model") and best_speed(summary).status == MEASURED:
        commands.append(f"# the speedup on this machine\nautocompress measure MODEL.onnx {best['model']}")
    commands.append(f"# this report\nautocompress report {study} --format html")
    return section("How to get this again", "reproduce", code("\n\n".join(commands)))


def provenance(record: StudyRecord, summary: Mapping[str, Any]) -> Markup:
    """Model, device, settings, versions, time spent and what happened when."""
    header, study = record.header, record.header.study
    facts = {
        "Study": study.name,
        "Status": header.status + (f": {header.stop_reason}" if header.stop_reason else ""),
        "Asked for": target_words(summary),
        "Model": f"{study.model_path} ({size(study.model_size_bytes)})",
        "Model fingerprint": study.model_fingerprint,
        "Device": study.device,
        "Runtime": f"{study.runtime} {study.runtime_version}",
        "Latency is for": f"{plural(study.threads, 'thread')}, batch size {study.batch_size}",
        "Speed of the best": best_speed(summary).status,
        "Metric": summary.get("metric_description") or summary.get("metric") or study.metric,
        "Estimator coverage": _coverage(summary),
        "Seed": summary.get("seed", MISSING),
        "Started": moment(header.created),
        "Last written": moment(header.updated),
    }
    columns = [Column("What"), Column("Value")]
    return section(
        "Where the numbers come from",
        "provenance",
        table(
            columns, [[Cell(element("strong", k)), v] for k, v in facts.items()], caption="Provenance.", sortable=False
        ),
        element("div", _time(summary), _versions(study.versions), class_="columns"),
        details("Settings", json_block(study.config)),
        _events(record),
    )


def _coverage(summary: Mapping[str, Any]) -> str:
    estimator = summary.get("estimator") or {}
    error = estimator.get("mape_verified")
    tail = "" if error is None else f"; mean error on what was verified {percent(error)}"
    return f"{percent(estimator.get('coverage'), 0)} of the estimated time from exact table hits{tail}"


def _time(summary: Mapping[str, Any]) -> Markup:
    spent = summary.get("seconds") or {}
    rows: list[list[Cell | object]] = [[stage, Cell(seconds(value), value)] for stage, value in spent.items()]
    return element(
        "div",
        element("h3", "Time spent"),
        table(
            [Column("Stage"), Column("Wall time", numeric=True)], rows, caption="Wall time per stage.", sortable=False
        ),
    )


def _versions(versions: Mapping[str, str]) -> Markup:
    rows: list[list[Cell | object]] = [[name, version] for name, version in sorted(versions.items())]
    columns = [Column("Package"), Column("Version")]
    return element(
        "div", element("h3", "Versions"), table(columns, rows, caption="Versions of what was used.", sortable=False)
    )


def _events(record: StudyRecord) -> Markup | str:
    if not record.events:
        return ""
    rows: list[list[Cell | object]] = [
        [Cell(event.time.strftime("%H:%M:%S"), event.time.isoformat()), event.stage, event.message]
        for event in record.events
    ]
    columns = [Column("Time (UTC)"), Column("Stage"), Column("What happened", wide=True)]
    return details(f"What happened when ({plural(len(rows), 'event')})", table(columns, rows, caption="Events."))

"""The result as Markdown, for a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from autocompress.report.comparison import compare
from autocompress.report.points import Point, study_points
from autocompress.report.recipes import RecipeLabels
from autocompress.report.speed import best_speed
from autocompress.report.verdict import summary_scale, verdict
from autocompress.report.wording import MISSING, Scale, milliseconds, plural, seconds, size, times, times_interval
from autocompress.store.records import NOT_VERIFIED, StudyRecord

_SPECIAL = "\\`*_{}[]<>#|~!"


def report_markdown(record: StudyRecord, summary: Mapping[str, Any]) -> str:
    """The result, the comparison, what was verified, failures and provenance."""
    study, found = record.header.study, verdict(summary)
    labels = RecipeLabels(candidate.recipe for candidate in record.candidates)
    points = study_points(record, summary)
    parts = [
        f"# {_plain(PurePath(study.model_path).name)}",
        f"**{_plain(found.headline)}**",
        *map(_plain, found.sentences),
        _notices(summary.get("notices") or ()),
        "## Baseline against best",
        _comparison(summary),
        *_verified(points.verified, labels, summary_scale(summary)),
        *_verified(points.unverified, labels, summary_scale(summary)),
        "## Search",
        _search(summary),
        *_failures(record),
        "## Where the numbers come from",
        _provenance(record, summary),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _comparison(summary: Mapping[str, Any]) -> str:
    rows = [(row.label, row.baseline, row.best, row.change, row.interval) for row in compare(summary)]
    return _table(("", "baseline", "best", "change", "95 % interval"), rows)


def _verified(points: Sequence[Point], labels: RecipeLabels, scale: Scale) -> list[str]:
    if not points:
        return []
    rows = [
        (
            str(p.candidate.trial),
            times(p.speedup),
            times_interval(p.speedup_interval),
            scale.drop(p.drop),
            scale.interval(p.drop_interval),
            milliseconds(p.latency_ms),
            size(p.candidate.size_bytes),
            size(p.candidate.deflate_bytes),
            labels(p.candidate.recipe),
        )
        for p in points
    ]
    if points[0].estimated:
        title, level, known = "Finalists: accuracy verified, speed estimated", "90 %", f", {NOT_VERIFIED}"
    else:
        title, level, known = "Verified candidates", "95 %", ""
    speed = (f"speedup{known}", f"{level} interval")
    heads = ("trial", *speed, "drop", "95 % interval", f"latency{known}", "size", "compressed", "recipe")
    return [f"## {title}", _table(heads, rows)]


def _search(summary: Mapping[str, Any]) -> str:
    trials, spent = summary.get("trials") or {}, summary.get("seconds") or {}
    return (
        f"{plural(trials.get('total', 0), 'trial')}: {trials.get('complete', 0)} evaluated, {trials.get('pruned', 0)} "
        f"pruned, {trials.get('failed', 0)} failed; {trials.get('built', 0)} models were built. "
        f"Wall time {seconds(spent.get('total'))}."
    )


def _failures(record: StudyRecord) -> list[str]:
    failed = [c for c in record.candidates if c.state == "failed"]
    if not failed:
        return []
    return [
        "## Failures",
        "\n".join(f"- trial {c.trial}: {_plain(c.cause or 'no cause was recorded')}" for c in failed),
    ]


def _provenance(record: StudyRecord, summary: Mapping[str, Any]) -> str:
    study = record.header.study
    facts = {
        "study": study.name,
        "model": f"{study.model_path} ({study.model_fingerprint[:12]})",
        "device": study.device,
        "speed of the best": best_speed(summary).status,
        "runtime": f"{study.runtime} {study.runtime_version}, {plural(study.threads, 'thread')}",
        "seed": str(summary.get("seed")),
        "command": summary.get("command") or MISSING,
    }
    return "\n".join(f"- {name}: {_plain(value)}" for name, value in facts.items())


def _notices(notices: Sequence[str]) -> str:
    return "\n".join(f"> {_plain(notice)}  " for notice in notices)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: object) -> str:
    """Text that Markdown shows as it is, on one line."""
    escaped = "".join(f"\\{c}" if c in _SPECIAL else c for c in str(text))
    return " ".join(escaped.split())

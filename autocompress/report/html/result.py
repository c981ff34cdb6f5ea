"""The top of the page: what came out, and how it compares with what went in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autocompress.report.comparison import compare
from autocompress.report.counted_size import counted_bytes, is_compressed
from autocompress.report.html.markup import Cell, Column, Markup, element, join, paragraph, section, table
from autocompress.report.speed import best_speed
from autocompress.report.verdict import Verdict, summary_scale, verdict
from autocompress.report.wording import (
    MISSING,
    milliseconds,
    plural,
    sentence,
    size,
    times,
    times_interval,
)


def verdict_card(summary: Mapping[str, Any]) -> Markup:
    """The result in words and in four numbers."""
    found: Verdict = verdict(summary)
    words = element("div", *(paragraph(text) for text in found.sentences), class_="words")
    tiles = element("div", *_tiles(summary), class_="tiles") if summary.get("best") else ""
    return element("div", element("h2", found.headline), words, tiles, class_=f"verdict {found.tone}", id="result")


def notices(summary: Mapping[str, Any]) -> Markup | str:
    """Sentences a person should read; nothing when there are none."""
    given = summary.get("notices") or ()
    if not given:
        return ""
    items = element("ul", *(element("li", sentence(text)) for text in given))
    return element("aside", element("h3", "Please note"), items, class_="notices")


def comparison(summary: Mapping[str, Any]) -> Markup:
    """Baseline against best."""
    rows = [
        [Cell(element("strong", row.label)), row.baseline, row.best, row.change or MISSING, row.interval or MISSING]
        for row in compare(summary)
    ]
    columns = [
        Column(""),
        Column("Baseline", numeric=True),
        Column("Best", numeric=True),
        Column("Change", numeric=True),
        Column("95 % interval", numeric=True),
    ]
    return section(
        "Baseline against best",
        "comparison",
        table(columns, rows, caption="The uncompressed model against the emitted one.", sortable=False),
        paragraph(_how_measured(summary), kind="note"),
    )


def _tiles(summary: Mapping[str, Any]) -> list[Markup]:
    baseline, best, scale = summary["baseline"], summary["best"], summary_scale(summary)
    before, after = counted_bytes(summary, baseline), counted_bytes(summary, best)
    speed = best_speed(summary)
    return [
        _tile(f"Speedup, {speed.status}", times(speed.speedup), f"{times_interval(speed.interval)} ({speed.level})"),
        _tile(
            "Accuracy drop, verified",
            scale.drop(best.get("accuracy_drop")),
            f"{scale.interval(best.get('accuracy_drop_ci95'))}, n = {best.get('n') or MISSING}",
        ),
        _tile(f"Latency, {speed.status}", milliseconds(speed.latency_ms), f"was {milliseconds(speed.baseline_ms)}"),
        _tile("Size, compressed" if is_compressed(summary) else "Size", size(after), f"was {size(before)}"),
    ]


def _tile(title: str, value: str, note: str) -> Markup:
    return element(
        "div",
        element("span", title, class_="title"),
        element("span", value, class_="value"),
        element("span", note, class_="note"),
        class_="tile",
    )


def _how_measured(summary: Mapping[str, Any]) -> Markup:
    split = summary.get("split") or {}
    parts = ", ".join(f"{plural(n, 'sample')} for {part}" for part, n in split.items() if n)
    sentences = [
        "Accuracy is that of the verification part of the data, which neither calibration nor search has seen.",
        f"The data was split by seed {summary.get('seed')}: {parts}." if parts else "",
        "Drop and speedup are paired: both models saw the same samples and were timed in turns."
        if best_speed(summary).measured
        else "The drop is paired: both models saw the same samples. Nobody timed either: their speed is estimated.",
        "Estimated latencies come from the latency table and predictors alone.",
    ]
    return join(filter(None, sentences), " ")

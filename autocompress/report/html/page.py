"""The whole page: one file, offline, with everything in it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from autocompress import __version__
from autocompress.report.html import (
    curves,
    layers,
    operators,
    predictions,
    provenance,
    result,
    search,
    structure,
    tradeoff,
)
from autocompress.report.html.markup import Markup, element, join
from autocompress.report.points import study_points
from autocompress.report.recipes import RecipeLabels
from autocompress.report.wording import moment, plural
from autocompress.store.records import StudyRecord

_NAVIGATION = (
    ("result", "Result"),
    ("tradeoff", "Trade-off"),
    ("predictions", "Predictions"),
    (structure.ANCHOR, structure.TITLE),
    (curves.ANCHOR, curves.TITLE),
    ("layers", "Layers"),
    ("operators", "Operators"),
    ("search", "Search"),
    ("failures", "Failures"),
    ("recipe", "Recipe"),
    ("provenance", "Provenance"),
)

# Parts that only some studies have; each has the name of its part of the summary.
_OPTIONAL = (structure.ANCHOR, curves.ANCHOR)

# The browser itself refuses to load anything from anywhere, and to send anything.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; "
    "form-action 'none'; base-uri 'none'"
)


def report_html(record: StudyRecord, summary: Mapping[str, Any]) -> str:
    """The report of a study as one self-contained HTML document.

    Args:
        record: the study.
        summary: its summary, as ``build_summary`` makes it.
    """
    from plotly.offline import get_plotlyjs

    title = f"{PurePath(record.header.study.model_path).name} – autocompress"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        Markup(f"<style>{_asset('report.css')}</style>"),
    )
    body = element(
        "body",
        _masthead(record),
        _navigation(summary),
        _main(record, summary),
        element("footer", f"Made by autocompress {__version__}. This page works offline."),
        Markup(f"<script>{get_plotlyjs()}</script>"),
        Markup(f"<script>{_asset('report.js')}</script>"),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _main(record: StudyRecord, summary: Mapping[str, Any]) -> Markup:
    points = study_points(record, summary)
    labels = RecipeLabels(candidate.recipe for candidate in record.candidates)
    return element(
        "main",
        join(
            [
                result.verdict_card(summary),
                result.notices(summary),
                result.comparison(summary),
                tradeoff.tradeoff(points, labels, summary),
                predictions.predictions(record, summary),
                structure.structure(summary.get(structure.ANCHOR)),
                curves.curves(summary.get(curves.ANCHOR)),
                layers.layers(record.layers),
                operators.operators(record.operators),
                search.search(record, points, labels, summary),
                search.failures(record.candidates),
                provenance.recipe(record, summary),
                provenance.reproduce(summary),
                provenance.provenance(record, summary),
            ]
        ),
    )


def _masthead(record: StudyRecord) -> Markup:
    study = record.header.study
    facts = (
        study.device,
        f"{study.runtime} {study.runtime_version}",
        plural(study.threads, "thread"),
        f"batch size {study.batch_size}",
        moment(record.header.updated),
    )
    return element(
        "header",
        element("p", "autocompress report", class_="brand"),
        element("h1", PurePath(study.model_path).name),
        element("p", *(element("span", fact) for fact in facts), class_="facts"),
    )


def _navigation(summary: Mapping[str, Any]) -> Markup:
    links = [
        element("a", title, href=f"#{anchor}")
        for anchor, title in _NAVIGATION
        if anchor not in _OPTIONAL or summary.get(anchor)
    ]
    theme = element("button", "Light / dark", type="button", id="theme", title="Change between light and dark")
    return element("nav", *links, theme, aria_label="Parts of the report")


def _asset(name: str) -> str:
    return files("autocompress.report.html").joinpath("assets", name).read_text(encoding="utf-8")

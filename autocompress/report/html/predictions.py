"""Predicted against measured, for latency and for accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autocompress.report.agreement import (
    Agreement,
    Pair,
    accuracy_pairs,
    agreement,
    drop_pairs,
    latency_pairs,
)
from autocompress.report.html.charts import agreement_chart
from autocompress.report.html.markup import Column, Markup, chart, element, join, paragraph, section, table
from autocompress.report.verdict import summary_scale
from autocompress.report.wording import MISSING, Scale, percent, significant
from autocompress.store.records import StudyRecord

_COLUMNS = [
    Column("Measured on"),
    Column("n", numeric=True),
    Column("MAPE", numeric=True, hint="mean absolute error, relative to what was measured"),
    Column("MAE", numeric=True, hint="mean absolute error"),
    Column("Rank correlation", numeric=True, hint="Spearman's rho"),
    Column("Within interval", numeric=True, hint="outcomes that the prediction's 90 % interval held"),
]

Series = dict[str, list[Pair]]


def predictions(record: StudyRecord, summary: Mapping[str, Any]) -> Markup:
    """Both predictors, side by side."""
    return section(
        "Predicted against measured",
        "predictions",
        paragraph(
            "Each mark is one candidate: what was predicted before it was built, and what was measured after. On the "
            "dotted line both agree.",
            kind="note",
        ),
        element("div", _latency(record), _accuracy(record, summary), class_="columns"),
    )


def _latency(record: StudyRecord) -> Markup:
    series = _series(lambda verified: latency_pairs(record.candidates, verified=verified))
    if not series:
        return _nothing("Latency", "No candidate has both an estimated and a measured latency.")
    rows = [
        _row(name, agreement(pairs), mape=agreement(pairs).mape, mae=lambda v: f"{significant(v)} ms")
        for name, pairs in series.items()
    ]
    return element(
        "div",
        element("h3", "Latency"),
        chart(
            "latency-agreement",
            agreement_chart(series, factor=1.0, axis="latency (ms)", band=0.1),
            "Estimated against measured latency",
        ),
        table(_COLUMNS, rows, caption="Latency estimator; the band in the picture is ±10 %.", sortable=False),
    )


def _accuracy(record: StudyRecord, summary: Mapping[str, Any]) -> Markup:
    scale = summary_scale(summary)
    series = _series(lambda verified: drop_pairs(record.candidates, verified=verified))
    if not series:
        return _nothing("Accuracy", "No candidate has both a predicted and a measured accuracy drop.")
    baseline = (summary.get("baseline") or {}).get("accuracy")
    rows = [
        _row(name, agreement(pairs), mape=_mape(pairs, baseline), mae=_mae(scale)) for name, pairs in series.items()
    ]
    include = (0.0, summary.get("max_accuracy_drop") or 0.0)
    axis = f"drop ({scale.drop_unit})" if scale.drop_unit else "drop"
    return element(
        "div",
        element("h3", "Accuracy"),
        chart(
            "accuracy-agreement",
            agreement_chart(series, factor=scale.factor, axis=axis, band=None, include=include),
            "Predicted against measured accuracy drop",
        ),
        table(_COLUMNS, rows, caption="Accuracy predictor; MAPE is that of the accuracy itself.", sortable=False),
    )


def _series(pairs: Any) -> Series:
    found = {"search part": pairs(False), "verification": pairs(True)}
    return {name: values for name, values in found.items() if values}


def _mape(pairs: Sequence[Pair], baseline: float | None) -> float | None:
    return agreement(accuracy_pairs(pairs, baseline)).mape if baseline is not None else None


def _mae(scale: Scale) -> Any:
    return lambda value: scale.amount(value)


def _row(name: str, found: Agreement, *, mape: float | None, mae: Any) -> list[object]:
    within = f"{found.within_interval} of {found.with_interval}" if found.with_interval else MISSING
    return [
        name,
        found.n,
        percent(mape, 2),
        MISSING if found.mae is None else mae(found.mae),
        MISSING if found.rank_correlation is None else f"{found.rank_correlation:.3f}",
        within,
    ]


def _nothing(title: str, sentence: str) -> Markup:
    return element("div", join([element("h3", title), paragraph(sentence, kind="empty")]))

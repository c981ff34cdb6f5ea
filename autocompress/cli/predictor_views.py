"""How ``autocompress predictor`` shows its results to a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from autocompress.cli.layout import Column, milliseconds, percent, rows_table, sentences
from autocompress.cli.output import Document

if TYPE_CHECKING:
    from rich.console import RenderableType

_SETTINGS = {
    "by_forest": "new family, its operators from forests",
    "no_hits": "the same without a single exact hit",
    "by_table": "its operators in the table, composition new",
}
_WORST_OPERATORS = 10


def show_training(document: Document) -> Iterable[RenderableType]:
    """``predictor train``."""
    yield rows_table(
        document["families"],
        [
            Column("family", "family"),
            Column("rows", "records", right=True),
            Column("mape", "error (held out)", percent, right=True),
            Column("within_10_percent", "within 10 %", percent, right=True),
        ],
    )
    yield from sentences([f"predictors are in {document['folder']}"])


def show_evaluation(document: Document) -> Iterable[RenderableType]:
    """``predictor evaluate``."""
    yield rows_table(
        document["operators"],
        [
            Column("family", "family"),
            Column("rows", "records", right=True),
            Column("mape", "mean error", percent, right=True),
            Column("median", "median", percent, right=True),
            Column("within_5_percent", "within 5 %", percent, right=True),
            Column("within_10_percent", "within 10 %", percent, right=True),
            Column("interval_coverage", "90 % intervals hold", percent, right=True),
        ],
        title="operators that the forests did not see",
    )
    yield rows_table(_worst_operators(document), _CASES, title="worst of them")
    yield rows_table(
        [{"setting": title, **document["models"][name]} for name, title in _SETTINGS.items()],
        [Column("setting", "setting"), *_ERRORS, Column("exact_hit_share", "exact hits", percent, right=True)],
        title="whole models of families that nothing was fitted on (95 % Wilson intervals)",
    )
    by_forest = document["models"]["by_forest"]
    yield rows_table(by_forest["by_family"], [Column("family", "family"), *_ERRORS])
    yield rows_table(by_forest["by_variant"], [Column("variant", "variant"), *_ERRORS])
    yield rows_table(
        by_forest["worst"],
        [
            Column("model", "worst models"),
            Column("measured_ms", "measured", milliseconds, right=True),
            Column("estimated_ms", "estimated", milliseconds, right=True),
            Column("relative_error", "error", _signed, right=True),
        ],
    )
    yield from sentences([f"table {document['table']}, SHA-256 {document['sha256']}", document["predictors"]])


def _worst_operators(document: Document) -> list[dict[str, Any]]:
    cases = [{"family": row["family"], **case} for row in document["operators"] for case in row["worst"]]
    return sorted(cases, key=lambda case: -_distance(case["predicted_over_measured"]))[:_WORST_OPERATORS]


def _distance(ratio: float) -> float:
    return max(ratio, 1 / max(ratio, 1e-9))


def _signed(value: float) -> str:
    return f"{100 * value:+.1f} %"


def _share(value: Mapping[str, Any]) -> str:
    low, high = value["wilson95"]
    return f"{percent(value['share'])} ({100 * low:.0f}-{100 * high:.0f})"


def _microseconds(value: float) -> str:
    return f"{value:.3g} us"


_ERRORS = [
    Column("n", "models", right=True),
    Column("within_5_percent", "within 5 %", _share, right=True),
    Column("within_10_percent", "within 10 %", _share, right=True),
    Column("mape", "mean error", percent, right=True),
    Column("bias", "bias", _signed, right=True),
    Column("intervals_hold", "90 % intervals hold", _share, right=True),
]
_CASES = [
    Column("op_type", "operator"),
    Column("work", "work"),
    Column("measured_us", "measured", _microseconds, right=True),
    Column("predicted_over_measured", "predicted / measured", lambda ratio: f"{ratio:.2f}", right=True),
]

"""What the estimator is held to, and whether it was reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from latency_scoring.judged import OURS
from latency_scoring.measures import Share
from latency_scoring.report import ALL

Scores = Mapping[str, Any]


def targets(scores: Scores) -> list[dict[str, Any]]:
    """One row per target that the measured sets can say something about.

    Returns:
        Rows of ``target``, ``limit``, ``value``, ``interval95`` (None where there is none) and ``met``.
    """
    rows: list[dict[str, Any]] = []
    for of, k, measure, limit in _SHARES:
        row = _find(scores["accuracy"], set=of, k=k, setting=ALL)
        if row is not None and row["n"]:
            rows.append(_share_row(f"{_SET_NAMES[of]}, k={k}: {_MEASURES[measure]}", limit, row[measure]))
    rows += _candidate_rows(scores)
    rows += _interval_rows(scores)
    return rows


_SHARES = (
    ("A", 0, "within_10", 0.92), ("A", 0, "within_5", 0.65), ("B", 0, "within_10", 0.99), ("B", 0, "within_5", 0.91),
    ("C", 2, "within_5", 0.95),
)  # fmt: skip
_SET_NAMES = {"A": "unseen families", "B": "known families", "C": "candidates"}
_MEASURES = {"within_5": "within 5 %", "within_10": "within 10 %"}


def _candidate_rows(scores: Scores) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    row = _find(scores["accuracy"], set="C", k=2, setting=ALL)
    if row is not None and row["n"]:
        rows.append(_number_row("candidates, k=2: MAPE", 0.024, row["mape"], at_most=True))
    ranks = _find(scores["ranking"], k=2, method=OURS)
    if ranks is not None and ranks["spearman"] is not None:
        rows.append(_number_row("candidates, k=2: Spearman", 0.98, ranks["spearman"]))
    if ranks is not None and ranks.get("close_spearman") is not None:
        rows.append(_number_row("candidates within 20 %: Spearman", 0.85, ranks["close_spearman"]))
        rows.append(_number_row("candidates within 20 %: mean regret", 0.02, ranks["mean_regret"], at_most=True))
    return rows


def _interval_rows(scores: Scores) -> list[dict[str, Any]]:
    rows = []
    said = [row for row in scores["signs"] if row["method"] == OURS]
    if sum(row["n"] for row in said):
        rows.append(_share_row("int8 against fp32: sign", 0.98, _pooled(said)))
    held = [row["interval90"] for row in scores["accuracy"] if row["setting"] == ALL and "interval90" in row]
    if held:
        row = _share_row("90 % intervals hold (85 to 95 %)", 0.85, _pooled(held))
        rows.append({**row, "met": 0.85 <= row["value"] <= 0.95})
    nodes = sum(row["nodes"] for row in scores["priced"])
    unpriced = sum(row["unpriced"] for row in scores["priced"])
    rows.append(_number_row("nodes priced", 1.0, 1.0 - unpriced / max(nodes, 1)))
    return rows


def _find(rows: Sequence[Mapping[str, Any]], **wanted: object) -> Mapping[str, Any] | None:
    return next((row for row in rows if all(row.get(key) == value for key, value in wanted.items())), None)


def _pooled(shares: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return Share(sum(s["hits"] for s in shares), sum(s["n"] for s in shares)).to_dict()


def _share_row(target: str, limit: float, share: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "target": target,
        "limit": limit,
        "value": share["share"],
        "interval95": [share["low"], share["high"]],
        "n": share["n"],
        "met": share["share"] >= limit,
    }


def _number_row(target: str, limit: float, value: float, *, at_most: bool = False) -> dict[str, Any]:
    met = value <= limit if at_most else value >= limit
    return {"target": target, "limit": limit, "value": value, "interval95": None, "met": met}

"""``predictor train|evaluate``: forests from a latency table, reproducible byte for byte, and how good they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from autocompress.api.table_rows import work_of
from autocompress.errors import TableError
from autocompress.latency.evaluation import EstimatedModel, Share, evaluate, model_errors
from autocompress.latency.locate import find_table
from autocompress.latency.operator_errors import FamilyErrors
from autocompress.latency.predictor import load_predictors, table_hash
from autocompress.latency.record import LatencyRecord
from autocompress.latency.table import LatencyTable
from autocompress.latency.train import train_predictors

_WORST_MODELS = 10


def train(table: str | Path, *, output: str | Path | None = None, seed: int = 0) -> dict[str, Any]:
    """Trains predictors on a table.

    Args:
        table: its path, or its name as ``table list`` shows it.
        output: folder; ``predictors/<name of the table>`` beside the table's folder by default.
        seed: of the forests.

    Returns:
        ``folder`` and, per family, rows and errors on operators that its forest did not see.

    Raises:
        TableError: when the table is damaged or holds too little.
    """
    path = find_table(table)
    folder = Path(output) if output is not None else _beside(path)
    outcome = train_predictors(path, folder, command=f"autocompress predictor train {path.name}", seed=seed)
    families = [
        {
            "family": name,
            "rows": errors.rows,
            "mape": errors.mape if errors.judged else None,
            "within_10_percent": errors.within_10_percent if errors.judged else None,
        }
        for name, errors in outcome.errors.items()
    ]
    return {"folder": str(folder), "table": str(path), "families": families}


def evaluate_table(table: str | Path, *, seed: int = 0) -> dict[str, Any]:
    """Judges the predictors of a table by leaving out one architecture family after the other; nothing is timed.

    Args:
        table: its path, or its name as ``table list`` shows it.
        seed: of the forests.

    Returns:
        ``table``, ``sha256``, ``predictors`` (whether the ones beside it belong to it), ``operators`` (errors by family
        of operators, with the worst cases) and ``models`` (errors of whole models in three settings).

    Raises:
        TableError: when the table is damaged or holds too little.
    """
    path = find_table(table)
    loaded = LatencyTable.load(path)
    found = evaluate(loaded, path.name, seed=seed)
    records = {record.signature.key: record for record in loaded}
    settings = {"by_forest": found.by_forest, "no_hits": found.no_hits, "by_table": found.by_table}
    return {
        "table": str(path),
        "sha256": table_hash(path),
        "predictors": _state_of_predictors(path),
        "operators": [_family_row(name, errors, records) for name, errors in found.operators.items()],
        "models": {name: _models(models) for name, models in settings.items()},
    }


def _beside(path: Path) -> Path:
    return path.resolve().parents[1] / "predictors" / path.stem


def _state_of_predictors(path: Path) -> str:
    folder = _beside(path)
    if not folder.is_dir():
        return "none are beside the table"
    try:
        load_predictors(folder, path)
    except TableError as error:
        return str(error)
    return f"{folder.name} was trained on this table"


def _family_row(name: str, errors: FamilyErrors, records: dict[str, LatencyRecord]) -> dict[str, Any]:
    row = {"family": name, **errors.to_dict()}
    for case in row["worst"]:
        record = records[case["key"]]
        case |= {
            "op_type": record.signature.op_type,
            "work": work_of(record.signature),
            "measured_us": record.minimum_us,
        }
    return row


def _models(models: Sequence[EstimatedModel]) -> dict[str, Any]:
    worst = sorted(models, key=lambda m: (-abs(m.relative_error), m.name))[:_WORST_MODELS]
    return {
        **_errors(models),
        "exact_hit_share": sum(m.coverage for m in models) / len(models) if models else None,
        "by_family": _grouped(models, [m.family for m in models], "family"),
        "by_variant": _grouped(models, [m.variant for m in models], "variant"),
        "worst": [
            {
                "model": m.name,
                "measured_ms": m.measured_ms,
                "estimated_ms": m.estimated_ms,
                "relative_error": m.relative_error,
            }
            for m in worst
        ],
    }


def _grouped(models: Sequence[EstimatedModel], names: Iterable[str], title: str) -> list[dict[str, Any]]:
    groups: dict[str, list[EstimatedModel]] = {}
    for name, model in zip(names, models, strict=True):
        groups.setdefault(name, []).append(model)
    return [{title: name, **_errors(group)} for name, group in sorted(groups.items())]


def _errors(models: Sequence[EstimatedModel]) -> dict[str, Any]:
    errors = model_errors(models)
    return {
        "n": len(models),
        "within_5_percent": _share(errors.within_5_percent),
        "within_10_percent": _share(errors.within_10_percent),
        "mape": errors.mape,
        "bias": errors.bias,
        "intervals_hold": _share(errors.intervals),
    }


def _share(share: Share) -> dict[str, Any]:
    return {"share": share.share, "wilson95": share.interval95.to_list()}

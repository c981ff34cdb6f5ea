"""``predictor train``: forests from a latency table, reproducible byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autocompress.api.tables import find_table
from autocompress.latency.train import train_predictors


def train(table: str | Path, *, output: str | Path | None = None, seed: int = 0) -> dict[str, Any]:
    """Trains predictors on a table.

    Args:
        table: its path, or its name as ``table list`` shows it.
        output: folder; ``predictors/<name of the table>`` beside the table's folder by default.
        seed: of the forests.

    Returns:
        ``folder`` and, per family, rows and errors by cross-validation.

    Raises:
        TableError: when the table is damaged or holds too little.
    """
    path = find_table(table)
    folder = Path(output) if output is not None else path.resolve().parents[1] / "predictors" / path.stem
    outcome = train_predictors(path, folder, command=f"autocompress predictor train {path.name}", seed=seed)
    families = [
        {
            "family": forest.family,
            "rows": forest.rows,
            "mape": forest.mape,
            "within_10_percent": forest.within_10_percent,
        }
        for forest in outcome.forests
    ]
    return {"folder": str(folder), "table": str(path), "families": families}

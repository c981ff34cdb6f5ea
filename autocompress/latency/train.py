"""Trains the predictors of a table: forests for operators, terms for whole models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autocompress.errors import TableError
from autocompress.latency.composition import Composition, fit_composition
from autocompress.latency.forest import FittedForest, fit_forests
from autocompress.latency.predictor import save_predictors, table_hash
from autocompress.latency.roofline import Roofline
from autocompress.latency.table import LatencyTable
from autocompress.latency.whole_models import load_models

_FEWEST_MODELS = 12
_MOST_MISSING = 0.1


@dataclass(frozen=True)
class TrainingOutcome:
    """What was trained.

    Attributes:
        folder: where the predictors are.
        forests: one per family, with their errors.
        composition: how operators add up.
    """

    folder: Path
    forests: tuple[FittedForest, ...]
    composition: Composition


def train_predictors(table_path: str | Path, folder: str | Path, *, command: str, seed: int = 0) -> TrainingOutcome:
    """Fits forests and composition on a table and the models observed beside it, and saves them.

    The same table gives the same predictors, byte for byte.

    Args:
        table_path: the table; what it knows of whole models is read from the file beside it.
        folder: where to put the predictors.
        command: how this was called; goes on the card.
        seed: of the forests.

    Raises:
        TableError: when the table is damaged, or holds too little to learn from.
        StorageError: when the place cannot be written.
    """
    path, folder = Path(table_path), Path(folder)
    table = LatencyTable.load(path)
    roofline = Roofline.from_constants(table.header.constants)
    forests = fit_forests(table, roofline, seed=seed)
    if not forests:
        raise TableError(f"{path.name} has too few records to train predictors on; profile the zoo first")
    models = [m for m in load_models(path).values() if m.missing <= _MOST_MISSING * m.nodes]
    composition = fit_composition(models) if len(models) >= _FEWEST_MODELS else Composition()
    provenance = {
        "table": path.name,
        "table_sha256": table_hash(path),
        "device": table.header.device.to_dict(),
        "runtime": table.header.runtime,
        "runtime_version": table.header.runtime_version,
        "threads": table.header.threads,
        "rows": len(table),
        "command": command,
        "seed": seed,
    }
    save_predictors(folder, forests, roofline, composition, provenance)
    return TrainingOutcome(folder, tuple(forests), composition)

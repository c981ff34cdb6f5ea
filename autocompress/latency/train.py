"""Trains the predictors of a table: forests for operators, terms for whole models, and how far off both may be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from autocompress.errors import TableError
from autocompress.latency.anchoring import Anchor, fit_anchoring
from autocompress.latency.composition import Composition, fit_composition
from autocompress.latency.forest import FamilyForest, fit_forests, records_by_family
from autocompress.latency.held_out import HeldOutPrediction, held_out_predictions, predictions_without_hits
from autocompress.latency.held_out_models import HeldOutModel, HeldOutModels, score, whole_models
from autocompress.latency.intervals import RAW, calibrate
from autocompress.latency.operator_errors import FamilyErrors, operator_errors
from autocompress.latency.predictor import ModelFit, save_predictors, table_hash
from autocompress.latency.roofline import Roofline
from autocompress.latency.table import LatencyTable

_VERSIONS = ("autocompress", "numpy", "scikit-learn", "scipy")
_FEWEST_RECORDS = 32  # with fewer, the forests of another device are worth more
_FIRST_ANCHORS = ("fp32", "int8")  # what every search measures first


@dataclass(frozen=True)
class TrainingOutcome:
    """What was trained.

    Attributes:
        folder: where the predictors are.
        forests: one per family.
        errors: how good each family is on operators that it did not see.
        composition: how operators add up.
    """

    folder: Path
    forests: tuple[FamilyForest, ...]
    errors: Mapping[str, FamilyErrors]
    composition: Composition


@dataclass(frozen=True)
class Judgement:
    """What a table says of predictors trained on it, before anything is saved.

    Attributes:
        forests: one per family.
        predictions: by signature key, of forests that did not see the operator.
        errors: by family of operators.
        composition: how operators add up.
        models: whole models, estimated as if their family had never been seen, with uncalibrated intervals.
    """

    forests: tuple[FamilyForest, ...]
    predictions: Mapping[str, HeldOutPrediction]
    errors: Mapping[str, FamilyErrors]
    composition: Composition
    models: tuple[HeldOutModel, ...]


def judge(table: LatencyTable, name: str, *, seed: int = 0, hits: bool = True) -> Judgement:
    """Fits forests and composition on a table, and judges them by leaving out one architecture family after the other.

    Args:
        table: operators and whole models.
        name: of its file, for errors.
        seed: of the forests.
        hits: whether a model's operators that other families have too stay in the table when it is estimated.

    Raises:
        TableError: when the table holds too little to learn from.
    """
    roofline = Roofline.from_constants(table.header.constants)
    families = records_by_family(table, roofline)
    forests = fit_forests(families, seed=seed)
    if sum(forest.rows for forest in forests) < _FEWEST_RECORDS:
        raise TableError(f"{name} has too few records to train predictors on; profile the zoo first")
    predictions = held_out_predictions(families, table.models, seed=seed)
    errors = operator_errors([r for r in table if r.valid], predictions)
    composition = fit_composition([(m.family, m.work, m.measured_us) for m in whole_models(table)])
    whole = HeldOutModels(table, errors, composition, RAW)
    if hits:
        models = whole.estimated(lambda family: predictions)
    else:
        models = whole.estimated(predictions_without_hits(families, table.models, seed=seed).__getitem__, hits=False)
    return Judgement(tuple(forests), predictions, errors, composition, tuple(models))


def train_predictors(table_path: str | Path, folder: str | Path, *, command: str, seed: int = 0) -> TrainingOutcome:
    """Fits forests on the operators of a table and the composition on its whole models, and saves them.

    The same table gives the same predictors, byte for byte.

    Args:
        table_path: the table; operators and whole models.
        folder: where to put the predictors.
        command: how this was called; goes on the card.
        seed: of the forests.

    Raises:
        TableError: when the table is damaged, or holds too little to learn from.
        StorageError: when the place cannot be written.
    """
    path, folder = Path(table_path), Path(folder)
    table = LatencyTable.load(path)
    judged = judge(table, path.name, seed=seed)
    fit = ModelFit(
        composition=judged.composition.to_dict(),
        intervals=calibrate(*scores_of(judged.models)).to_dict(),
        anchoring=fit_anchoring(*_candidates(judged.models)).to_dict(),
    )
    roofline = Roofline.from_constants(table.header.constants)
    provenance = _provenance(path, table, command, seed)
    save_predictors(folder, judged.forests, judged.errors, roofline, fit, provenance)
    return TrainingOutcome(folder, judged.forests, judged.errors, judged.composition)


def scores_of(models: Sequence[HeldOutModel]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Errors of uncalibrated estimates in their own sigmas: by table, and by forest."""
    by_table = [score(model.by_table.estimate, model.measured_ms) for model in models]
    by_forest = [score(model.by_forest.estimate, model.measured_ms) for model in models]
    return np.asarray(by_table, np.float64), np.asarray(by_forest, np.float64)


def _candidates(models: Sequence[HeldOutModel]) -> tuple[list[list[Anchor]], list[list[Anchor]]]:
    """Models of one architecture are candidates of one model; those that a search measures first come first."""
    groups: dict[str, list[HeldOutModel]] = defaultdict(list)
    for model in models:
        groups[model.architecture].append(model)
    by_table, by_forest = [], []
    for _, group in sorted(groups.items()):
        group.sort(key=lambda m: (m.variant not in _FIRST_ANCHORS, m.variant != _FIRST_ANCHORS[0], m.variant))
        by_table.append([Anchor(m.by_table, m.measured_ms) for m in group])
        by_forest.append([Anchor(m.by_forest, m.measured_ms) for m in group])
    return by_table, by_forest


def _provenance(path: Path, table: LatencyTable, command: str, seed: int) -> dict[str, Any]:
    return {
        "table": path.name,
        "table_sha256": table_hash(path),
        "device": table.header.device.to_dict(),
        "runtime": table.header.runtime,
        "runtime_version": table.header.runtime_version,
        "threads": table.header.threads,
        "rows": len(table),
        "models": len(table.models),
        "command": command,
        "seed": seed,
        "versions": {name: version(name) for name in _VERSIONS},
    }

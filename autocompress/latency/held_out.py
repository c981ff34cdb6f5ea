"""What forests say of operators that they did not see: the base of every error and interval that is stated.

Operators of one architecture resemble each other, so they are held out together: all that occur in whole models of one
family and in no others.  Operators that belong to no such family are held out by the sizes of their weights.  Where
there are many families, a few of them are held out at once; that leaves the forests a little less to learn from, never
more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autocompress.latency.composition import ObservedModel
from autocompress.latency.features import FEATURES
from autocompress.latency.forest import FEWEST_ROWS, FamilyRecords, fit_family, known_classes
from autocompress.latency.operator_rows import OperatorRows

_MOST_FOLDS = 12
_FOLDS_BY_WEIGHTS = 5
_WEIGHT_SIZES = ("weight_bytes", "channels_in", "channels_out", "groups", "window", "columns", "inner", "last_axis")


@dataclass(frozen=True)
class HeldOutPrediction:
    """What a forest says of one operator that it did not see.

    Attributes:
        log_us: log of microseconds.
        spread: over trees.
        known: whether it saw others of the operator's dispatch class.
    """

    log_us: float
    spread: float
    known: bool


def families_by_key(models: Mapping[str, ObservedModel]) -> dict[str, frozenset[str]]:
    """Signature key -> architecture families whose models execute the operator."""
    families: dict[str, set[str]] = defaultdict(set)
    for model in models.values():
        for key in model.operators:
            families[key].add(model.family)
    return {key: frozenset(found) for key, found in families.items()}


def fold_of_family(models: Mapping[str, ObservedModel]) -> dict[str, int]:
    """Architecture family -> number of the fold it is held out in; folds have about equally many models."""
    sizes = Counter(model.family for model in models.values())
    filled = [0] * min(len(sizes), _MOST_FOLDS)
    folds: dict[str, int] = {}
    for family in sorted(sizes, key=lambda name: (-sizes[name], name)):
        folds[family] = min(range(len(filled)), key=lambda i: (filled[i], i))
        filled[folds[family]] += sizes[family]
    return dict(sorted(folds.items()))


def held_out_predictions(
    families: Mapping[str, FamilyRecords], models: Mapping[str, ObservedModel], *, seed: int = 0
) -> dict[str, HeldOutPrediction]:
    """Predictions by signature key; operators whose family is left with too few records are missing.

    Args:
        families: records by family of operators.
        models: whole models by name, which say what belongs together.
        seed: of the forests.
    """
    fold_of = fold_of_family(models)
    count = len(set(fold_of.values())) or _FOLDS_BY_WEIGHTS
    homes = {key: {fold_of[family] for family in found} for key, found in families_by_key(models).items()}
    found: dict[str, HeldOutPrediction] = {}
    for family, known in families.items():
        folds = np.asarray(
            [
                next(iter(homes[key])) if len(homes.get(key, ())) == 1 else group % count
                for key, group in zip(known.rows.keys, _groups(known.rows), strict=True)
            ]
        )
        for fold in sorted(set(folds.tolist())):
            found.update(_predicted(family, known, folds == fold, seed))
    return found


def predictions_without_hits(
    families: Mapping[str, FamilyRecords], models: Mapping[str, ObservedModel], *, seed: int = 0
) -> dict[str, dict[str, HeldOutPrediction]]:
    """Architecture family -> predictions for all its operators, by forests that saw none of them.

    Args:
        families: records by family of operators.
        models: whole models by name.
        seed: of the forests.
    """
    fold_of = fold_of_family(models)
    by_key = families_by_key(models)
    by_fold: dict[int, dict[str, HeldOutPrediction]] = {}
    for fold in sorted(set(fold_of.values())):
        keys = frozenset(key for key, found in by_key.items() if any(fold_of[family] == fold for family in found))
        by_fold[fold] = {}
        for family, known in families.items():
            held = np.asarray([key in keys for key in known.rows.keys])
            by_fold[fold].update(_predicted(family, known, held, seed))
    return {family: by_fold[fold] for family, fold in fold_of.items()}


def _predicted(
    family: str, known: FamilyRecords, held: npt.NDArray[np.bool_], seed: int
) -> dict[str, HeldOutPrediction]:
    if not held.any() or (~held).sum() < FEWEST_ROWS:
        return {}
    seen, unseen = known.rows.take(np.flatnonzero(~held)), known.rows.take(np.flatnonzero(held))
    forest = fit_family(family, seen, known.latency_us[~held], known.weights[~held], seed=seed)
    centres, spreads = forest.predict(unseen)
    return {
        key: HeldOutPrediction(float(centre), float(spread), knows)
        for key, centre, spread, knows in zip(
            unseen.keys, centres, spreads, known_classes(unseen, forest.offsets), strict=True
        )
    }


def _groups(rows: OperatorRows) -> list[int]:
    """Operators with the same weights and channels share a number."""
    columns = rows.features[:, [FEATURES.index(name) for name in _WEIGHT_SIZES]]
    _, group = np.unique(columns, axis=0, return_inverse=True)
    return [int(number) for number in np.ravel(group)]

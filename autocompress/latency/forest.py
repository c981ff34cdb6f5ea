"""Fits one forest of randomized trees per family of operators on the records of a table.

The target is log(time / roofline bound): it spans a factor of ten or so where times span a million, so that trees,
which cannot extrapolate, need not.  The trees are extremely randomized ones (Geurts, Ernst, Wehenkel, "Extremely
Randomized Trees", Machine Learning 2006), which were better here than bootstrapped ones.  Besides the features they see
the median target of the operator's dispatch class: what a runtime chooses a kernel by, as a number that orders kernels
by their speed.

Errors are judged on folds that keep operators with the same weights together.  Intervals are conformal: the 90 %
quantile, out of fold, of |error| over the spread of the trees (Lei et al., "Distribution-Free Predictive Inference for
Regression", JASA 2018, with a locally weighted score).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.graph.signature import OpSignature
from autocompress.latency.families import dispatch_class, family_of
from autocompress.latency.features import FEATURES, features_of
from autocompress.latency.record import LatencyRecord
from autocompress.latency.roofline import Roofline
from autocompress.latency.tree_ensemble import forest_to_onnx

FloatArray = npt.NDArray[np.float64]

FEWEST_ROWS = 8
SPREAD_FLOOR = 0.02  # trees that agree perfectly are still wrong by the noise of the clock
_TREES = 32
_FOLDS = 5
_COVERAGE = 0.9
_MAX_FEATURES = 0.7
_FEWEST_IN_CLASS = 3


@dataclass(frozen=True)
class FittedForest:
    """One family's predictor and how good it is.

    Attributes:
        family: its name.
        model: serialized ONNX.
        offsets: dispatch class -> median of the target; "" for classes that were too few.
        rows: records it was fitted on.
        interval_scale: half width of the 90 % interval in units of the trees' spread.
        mape: mean absolute relative error, out of fold.
        within_10_percent: share of records predicted within 10 %, out of fold.
        worst: (signature key, predicted over measured) of the worst records, out of fold.
    """

    family: str
    model: bytes
    offsets: Mapping[str, float]
    rows: int
    interval_scale: float
    mape: float
    within_10_percent: float
    worst: tuple[tuple[str, float], ...]


def fit_forests(records: Iterable[LatencyRecord], roofline: Roofline, *, seed: int = 0) -> list[FittedForest]:
    """Fits every family that has at least ``FEWEST_ROWS`` valid records, in order of name."""
    by_family: dict[str, list[LatencyRecord]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.signature.key):
        if record.valid:
            by_family[family_of(record.signature)].append(record)
    return [
        _fit_family(family, rows, roofline, seed)
        for family, rows in sorted(by_family.items())
        if len(rows) >= FEWEST_ROWS
    ]


def log_ratios(records: Iterable[LatencyRecord], roofline: Roofline) -> FloatArray:
    """Targets: log of time over roofline bound, of shape (records,)."""
    return np.asarray([np.log(r.minimum_us / roofline.bound_us(r.signature)) for r in records])


def _fit_family(family: str, records: list[LatencyRecord], roofline: Roofline, seed: int) -> FittedForest:
    signatures = [r.signature for r in records]
    targets = log_ratios(records, roofline)
    predicted, spread = _out_of_fold(signatures, targets, seed)
    errors = predicted - targets
    relative = np.abs(np.expm1(errors))
    worst = np.argsort(-np.abs(errors), kind="stable")[:5]
    offsets = class_offsets(signatures, targets)
    forest = new_forest(seed).fit(inputs_of(signatures, offsets), targets)
    return FittedForest(
        family=family,
        model=forest_to_onnx(forest, len(FEATURES) + 1),
        offsets=offsets,
        rows=len(records),
        interval_scale=conformal_quantile(np.abs(errors) / (spread + SPREAD_FLOOR)),
        mape=float(relative.mean()),
        within_10_percent=float((relative <= 0.1).mean()),
        worst=tuple((records[i].signature.key, float(np.exp(errors[i]))) for i in worst),
    )


def class_offsets(signatures: Sequence[OpSignature], targets: FloatArray) -> dict[str, float]:
    """Median target of each dispatch class with enough rows; that of all under ""."""
    rows: dict[str, list[float]] = defaultdict(list)
    for signature, target in zip(signatures, targets, strict=True):
        rows[dispatch_class(signature)].append(float(target))
    medians = {name: float(np.median(v)) for name, v in sorted(rows.items()) if len(v) >= _FEWEST_IN_CLASS}
    return {"": float(np.median(targets)), **medians}


def inputs_of(signatures: Sequence[OpSignature], offsets: Mapping[str, float]) -> npt.NDArray[np.float32]:
    """What a forest is fed: the features and the offset of the dispatch class, of shape (operators, features + 1)."""
    column = [[offsets.get(dispatch_class(s), offsets[""])] for s in signatures]
    return np.hstack([features_of(signatures), np.asarray(column, np.float32).reshape(-1, 1)])


def conformal_quantile(scores: FloatArray, coverage: float = _COVERAGE) -> float:
    """The split-conformal quantile: the ceil((n + 1) * coverage)-th smallest score, or the largest where n is small."""
    rank = int(np.ceil((len(scores) + 1) * coverage))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def new_forest(seed: int) -> Any:
    """An unfitted forest."""
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(n_estimators=_TREES, max_features=_MAX_FEATURES, random_state=seed, n_jobs=1)


def _out_of_fold(signatures: Sequence[OpSignature], targets: FloatArray, seed: int) -> tuple[FloatArray, FloatArray]:
    """Prediction and spread over trees for each row, by forests that did not see its group."""
    from sklearn.model_selection import GroupKFold

    features = features_of(signatures)
    groups = _groups(features)
    folds = min(_FOLDS, len(np.unique(groups)))
    if folds < 2:
        return np.full(len(targets), targets.mean()), np.full(len(targets), targets.std())
    predicted, spread = np.empty(len(targets)), np.empty(len(targets))
    for train, test in GroupKFold(folds).split(features, targets, groups):
        offsets = class_offsets([signatures[i] for i in train], targets[train])
        inputs = inputs_of(signatures, offsets)
        forest = new_forest(seed).fit(inputs[train], targets[train])
        trees = np.stack([tree.predict(inputs[test]) for tree in forest.estimators_])
        predicted[test], spread[test] = trees.mean(axis=0), trees.std(axis=0)
    return predicted, spread


def _groups(features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Operators with the same weights and channels share a group."""
    names = ("weight_bytes", "channels_in", "channels_out", "groups", "window", "columns", "inner", "last_axis")
    columns = features[:, [FEATURES.index(name) for name in names]]
    _, group = np.unique(columns, axis=0, return_inverse=True)
    return np.asarray(group, np.int64).ravel()

"""Fits one forest of randomized trees per family of operators on the records of a table.

The target is log(time / roofline), with a roofline fitted to the family's kernels (``fitted_roofline.py``): what is
left spans a few percent to a factor of two where times span a million, so that trees, which cannot extrapolate, need
not.  The trees are extremely randomized ones (Geurts, Ernst, Wehenkel, "Extremely Randomized Trees", Machine Learning
2006), which were better here than bootstrapped ones.  Besides the features they see what the roofline is made of and
the median target of the operator's dispatch class.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.latency.families import family_of
from autocompress.latency.features import FEATURES
from autocompress.latency.fitted_roofline import FittedRoofline, fit_roofline
from autocompress.latency.operator_rows import OperatorRows
from autocompress.latency.record import LatencyRecord
from autocompress.latency.roofline import Roofline
from autocompress.latency.work_terms import WORK_TERMS

FloatArray = npt.NDArray[np.float64]

FEWEST_ROWS = 3
INPUTS = len(FEATURES) + 2 + WORK_TERMS
_TREES = 32
_MAX_FEATURES = 0.35
_FEWEST_IN_CLASS = 3


@dataclass(frozen=True)
class FamilyForest:
    """One family's predictor, as fitted.

    Attributes:
        family: its name.
        rates: its roofline.
        offsets: dispatch class -> median of the target; "" for classes that were too few.
        trees: the fitted forest of scikit-learn.
        rows: how many records it was fitted on.
    """

    family: str
    rates: FittedRoofline
    offsets: Mapping[str, float]
    trees: Any
    rows: int

    def predict(self, rows: OperatorRows) -> tuple[FloatArray, FloatArray]:
        """Log of microseconds, and its spread over trees; both of shape (operators,)."""
        base_us = self.rates.latency_us(rows)
        inputs = inputs_of(rows, self.rates, base_us, self.offsets)
        by_tree = np.stack([tree.predict(inputs) for tree in self.trees.estimators_])
        return np.log(base_us) + by_tree.mean(axis=0), by_tree.std(axis=0)


@dataclass(frozen=True)
class FamilyRecords:
    """The valid records of one family, sorted by key.

    Attributes:
        records: with their times.
        rows: the operators described.
    """

    records: tuple[LatencyRecord, ...]
    rows: OperatorRows

    @property
    def latency_us(self) -> FloatArray:
        """Times, of shape (records,)."""
        return np.asarray([r.minimum_us for r in self.records], np.float64)

    @property
    def weights(self) -> FloatArray:
        """What each time is worth, in (0, 1]: less where the clock hardly resolved it, of shape (records,)."""
        return np.asarray([(r.minimum_us / (r.minimum_us + r.spread_us)) ** 2 for r in self.records], np.float64)


def records_by_family(records: Iterable[LatencyRecord], roofline: Roofline) -> dict[str, FamilyRecords]:
    """Valid records by family, in order of name."""
    by_family: dict[str, list[LatencyRecord]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.signature.key):
        if record.valid:
            by_family[family_of(record.signature)].append(record)
    return {
        family: FamilyRecords(tuple(found), OperatorRows.of([r.signature for r in found], roofline))
        for family, found in sorted(by_family.items())
    }


def fit_forests(families: Mapping[str, FamilyRecords], *, seed: int = 0) -> list[FamilyForest]:
    """Fits every family that has at least ``FEWEST_ROWS`` records, in order of name."""
    return [
        fit_family(family, known.rows, known.latency_us, known.weights, seed=seed)
        for family, known in families.items()
        if len(known.rows) >= FEWEST_ROWS
    ]


def fit_family(
    family: str, rows: OperatorRows, latency_us: FloatArray, weights: FloatArray, *, seed: int
) -> FamilyForest:
    """Fits one family.

    Args:
        family: its name.
        rows: its measured operators.
        latency_us: their times, of shape (operators,).
        weights: what each time is worth, of shape (operators,).
        seed: of the forest.
    """
    rates = fit_roofline(rows, latency_us, weights)
    base_us = rates.latency_us(rows)
    targets = np.log(latency_us / base_us)
    offsets = _class_offsets(rows, targets)
    trees = _new_forest(seed).fit(inputs_of(rows, rates, base_us, offsets), targets, sample_weight=weights)
    return FamilyForest(family, rates, offsets, trees, len(rows))


def inputs_of(
    rows: OperatorRows, rates: FittedRoofline, base_us: FloatArray, offsets: Mapping[str, float]
) -> npt.NDArray[np.float32]:
    """What a forest is fed: features, offset of the class, log and shares of the roofline; (operators, ``INPUTS``)."""
    column = np.asarray([offsets.get(name, offsets[""]) for name in rows.classes])
    terms_us = rates.terms_us(rows)
    shares = terms_us / np.maximum(terms_us.sum(axis=1, keepdims=True), 1e-9)
    return np.hstack([rows.features, np.stack([column, np.log(base_us)], axis=1), shares]).astype(np.float32)


def known_classes(rows: OperatorRows, offsets: Mapping[str, float]) -> list[bool]:
    """Whether each operator's dispatch class had enough records to be learnt from."""
    return [name in offsets for name in rows.classes]


def _class_offsets(rows: OperatorRows, targets: FloatArray) -> dict[str, float]:
    """Median target of each dispatch class with enough rows; that of all under ""."""
    found: dict[str, list[float]] = defaultdict(list)
    for name, target in zip(rows.classes, targets.tolist(), strict=True):
        found[name].append(target)
    medians = {name: float(np.median(v)) for name, v in sorted(found.items()) if len(v) >= _FEWEST_IN_CLASS}
    # As they stand on the card, so that what is served is what was fitted.
    return {name: round(offset, 6) for name, offset in {"": float(np.median(targets)), **medians}.items()}


def _new_forest(seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(n_estimators=_TREES, max_features=_MAX_FEATURES, random_state=seed, n_jobs=1)

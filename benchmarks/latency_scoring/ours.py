"""The package's estimator as it is used, and its parts: table alone, forests alone, and without a single exact hit."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from latency_measuring.settings import Setting
from latency_models.digests import digest, file_sha256

from autocompress.latency.estimator import LatencyEstimator
from autocompress.latency.predictor import Predictors, load_predictors
from autocompress.latency.table import LatencyTable
from autocompress.latency.train import train_predictors
from autocompress.runtimes.protocol import ExecutedOp
from latency_scoring.judged import NO_HITS, OURS, Anchorable

TABLE_ONLY, FOREST_ONLY = "table_only", "forest_only"
UNPRICED = "unpriced"


def estimators(setting: Setting, test_keys: frozenset[str], work: Path) -> dict[str, LatencyEstimator]:
    """Method -> estimator; the one that is put to the test comes first.

    Args:
        setting: with the frozen table and forests.
        test_keys: keys of the signatures of all test models.
        work: where the forests without them are kept.

    Raises:
        TableError: when too little is left to train forests on.
    """
    predictors = setting.predictors
    return {
        OURS: setting.estimator,
        NO_HITS: estimator_without(setting, test_keys, work),
        TABLE_ONLY: LatencyEstimator(setting.table, None, composition=predictors.composition),
        FOREST_ONLY: LatencyEstimator(None, predictors),
    }


def estimator_without(setting: Setting, keys: frozenset[str], work: Path) -> LatencyEstimator:
    """An estimator that has never seen any operator of any test model.

    Their records are taken out of the table *and* the forests are trained anew on what is left: a forest has the rows
    it was trained on nearly by heart, so taking them out of the table alone would hide hits rather than remove them.

    Raises:
        TableError: when too little is left to train forests on.
    """
    path = work / "without" / digest(file_sha256(setting.table_path), *sorted(keys)) / setting.table_path.name
    folder = path.parent / "predictors"
    if not (folder / "card.json").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        without_signatures(setting.table, keys).save(path)
        train_predictors(path, folder, command="benchmarks/latency_accuracy.py")
    return LatencyEstimator(LatencyTable.load(path), load_predictors(folder, path))


def without_signatures(table: LatencyTable, keys: Iterable[str]) -> LatencyTable:
    """The table without some records."""
    removed = frozenset(keys)
    return LatencyTable(table.header, [r for r in table if r.signature.key not in removed], table.models)


def anchorable(estimator: LatencyEstimator, ops: Sequence[ExecutedOp]) -> Anchorable | None:
    """The estimate of a model as the package would anchor it; None for an estimator without forests."""
    predictors = estimator.predictors
    return Anchorable(estimator.candidate(ops), predictors.anchoring) if isinstance(predictors, Predictors) else None


def price_sources(estimator: LatencyEstimator, ops: Sequence[ExecutedOp]) -> tuple[dict[str, int], dict[str, float]]:
    """How many operators each source priced, and its share of the time of all.

    An operator whose price is no positive number counts as "unpriced".
    """
    nodes: Counter[str] = Counter(dict.fromkeys([UNPRICED], len(ops)))
    times: dict[str, float] = defaultdict(float)
    for price in estimator.price([op.signature for op in ops]):
        if math.isfinite(price.latency_us) and price.latency_us > 0:
            nodes[price.source] += 1
            nodes[UNPRICED] -= 1
            times[price.source] += price.latency_us
    total_us = sum(times.values()) or 1.0
    return {source: n for source, n in nodes.items() if n}, {source: us / total_us for source, us in times.items()}

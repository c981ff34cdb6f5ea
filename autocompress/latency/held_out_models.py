"""Whole models estimated as if their family had never been seen: what is stated of estimates rests on them.

For each architecture family in turn, the operators that occur in it alone are taken out of the table and of what the
forests learn from, the composition is fitted on the models of other families, and the family's models are estimated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autocompress.graph.signature import OpSignature
from autocompress.latency.anchoring import Candidate
from autocompress.latency.composition import (
    ORDINARY,
    Composition,
    ModelWork,
    ObservedModel,
    fit_without,
    model_work,
)
from autocompress.latency.estimator import LatencyEstimator
from autocompress.latency.families import family_of
from autocompress.latency.held_out import HeldOutPrediction, families_by_key
from autocompress.latency.intervals import ModelIntervals
from autocompress.latency.operator_errors import FamilyErrors, half_width
from autocompress.latency.predictor import Prediction
from autocompress.latency.record import LatencyRecord
from autocompress.latency.table import LatencyTable
from autocompress.measurement import EstimatedLatency
from autocompress.runtimes.protocol import ExecutedOp

_MOST_MISSING = 0.3


@dataclass(frozen=True)
class WholeModel:
    """One observed model with the operators that the table has of it.

    Attributes:
        name: such as "resnet18/int8".
        family: architecture family.
        measured_us: its latency.
        operators: record and count of each operator that the table has.
        complete: whether that is all of them.
        work: what the composition sees of it, operators that are missing made up for.
    """

    name: str
    family: str
    measured_us: float
    operators: tuple[tuple[LatencyRecord, int], ...]
    complete: bool
    work: ModelWork


def whole_models(table: LatencyTable) -> list[WholeModel]:
    """The models of a table whose operators are known, by name; those that lack too many are left out."""
    records = {record.signature.key: record for record in table if record.valid}
    found = []
    for name, model in sorted(table.models.items()):
        operators = tuple((records[key], count) for key, count in sorted(model.operators.items()) if key in records)
        nodes = sum(count for _, count in operators)
        if nodes >= (1 - _MOST_MISSING) * model.nodes and nodes > 0:
            work = _work(model, operators, nodes)
            found.append(WholeModel(name, model.family, model.latency_us, operators, nodes == model.nodes, work))
    return found


def _work(model: ObservedModel, operators: Sequence[tuple[LatencyRecord, int]], nodes: int) -> ModelWork:
    work = model_work((record.signature, record.minimum_us, count) for record, count in operators)
    if nodes == model.nodes:
        return work
    # What the table lacks is made up for by what was recorded with the model, in proportion.
    factor = max(model.operators_us / max(sum(work.kind_us.values()), 1e-9), 1.0)
    kind_us = {kind: factor * us for kind, us in work.kind_us.items()}
    return ModelWork(kind_us, model.nodes, sum(model.streamed_mbytes.values()), dict(model.activation_mbytes))


@dataclass(frozen=True)
class HeldOutModel:
    """One model, estimated without its family.

    Attributes:
        name: such as "resnet18/int8".
        family: architecture family.
        measured_ms: its latency in an ordinary moment.
        by_forest: estimated from the operators it shares with other families and from forests.
        by_table: estimated from its operators' own records; only the composition has not seen it.
    """

    name: str
    family: str
    measured_ms: float
    by_forest: Candidate
    by_table: Candidate

    @property
    def architecture(self) -> str:
        """Its name less the variant: models of one architecture are candidates of one model."""
        return self.name.partition("/")[0]

    @property
    def variant(self) -> str:
        """What of its name is not the architecture."""
        return self.name.partition("/")[2]


def score(estimate: EstimatedLatency, measured_ms: float) -> float:
    """|log(measured / estimated)| over the half width of the interval on that side."""
    error = np.log(measured_ms / estimate.latency_ms)
    end = estimate.interval90_ms.high if error > 0 else estimate.interval90_ms.low
    return float(abs(error) / max(abs(np.log(end / estimate.latency_ms)), 1e-12))


class HeldOutModels:
    """Estimates the models of a table, each without its family.

    Args:
        table: operators and whole models.
        errors: by family of operators, for their intervals.
        composition: as fitted on all models; only its error is used.
        intervals: how wide the estimates' intervals are to be.
    """

    def __init__(
        self,
        table: LatencyTable,
        errors: Mapping[str, FamilyErrors],
        composition: Composition,
        intervals: ModelIntervals,
    ) -> None:
        self._table = table
        self._errors = errors
        self._error90 = composition.relative_error90
        self._intervals = intervals
        self._models = whole_models(table)
        self._families = families_by_key(table.models)

    def keys(self, family: str) -> frozenset[str]:
        """Signature keys of all operators of a family's models."""
        return frozenset(key for key, found in self._families.items() if family in found)

    def estimated(
        self, predictions: Callable[[str], Mapping[str, HeldOutPrediction]], *, hits: bool = True
    ) -> list[HeldOutModel]:
        """Every complete model, by name.

        Args:
            predictions: architecture family -> what forests that did not see its operators say of them.
            hits: whether operators that other families have too stay in the table.
        """
        observed = [(m.family, m.work, m.measured_us) for m in self._models]
        found: list[HeldOutModel] = []
        for family in sorted({m.family for m in self._models}):
            terms = replace(fit_without(observed, family), relative_error90=self._error90)
            forest = _HeldOutPredictor(predictions(family), self._errors)
            kept = LatencyTable(self._table.header, self._kept(family, hits))
            by_forest = LatencyEstimator(kept, forest, composition=terms, intervals=self._intervals)
            by_table = LatencyEstimator(self._table, None, composition=terms, intervals=self._intervals)
            found += [
                self._held_out(model, by_forest, by_table)
                for model in self._models
                if model.family == family and model.complete
            ]
        return sorted(found, key=lambda m: m.name)

    def _kept(self, family: str, hits: bool) -> list[LatencyRecord]:
        own = self.keys(family)
        return [
            record
            for record in self._table
            if record.signature.key not in own or (hits and len(self._families[record.signature.key]) > 1)
        ]

    @staticmethod
    def _held_out(model: WholeModel, by_forest: LatencyEstimator, by_table: LatencyEstimator) -> HeldOutModel:
        ops = [ExecutedOp("", record.signature) for record, count in model.operators for _ in range(count)]
        return HeldOutModel(
            name=model.name,
            family=model.family,
            measured_ms=model.measured_us * ORDINARY / 1e3,
            by_forest=by_forest.candidate(ops),
            by_table=by_table.candidate(ops),
        )


@dataclass(frozen=True)
class _HeldOutPredictor:
    """Serves predictions that were made without the family."""

    predictions: Mapping[str, HeldOutPrediction]
    errors: Mapping[str, FamilyErrors]

    def predict(self, signatures: Sequence[OpSignature]) -> list[Prediction | None]:
        return [self._predicted(signature) for signature in signatures]

    def _predicted(self, signature: OpSignature) -> Prediction | None:
        found = self.predictions.get(signature.key)
        if found is None:
            return None
        half = half_width(vars(self.errors[family_of(signature)]), found.spread, known=found.known)
        low, centre, high = np.exp([found.log_us - half, found.log_us, found.log_us + half]).tolist()
        return Prediction(centre, low, high)

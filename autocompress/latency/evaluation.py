"""How good the predictors of a table are, from the table alone.

One architecture family after the other is left out: of the forests, of the composition, and of the calibration of the
intervals that are judged on it.  Twice: with the operators that the family shares with others still in the table, as a
new model would find it, and with every one of its operators taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autocompress.latency.anchoring import Candidate
from autocompress.latency.held_out_models import HeldOutModel
from autocompress.latency.intervals import calibrate
from autocompress.latency.operator_errors import FamilyErrors
from autocompress.latency.table import LatencyTable
from autocompress.latency.train import Judgement, judge, scores_of
from autocompress.measurement import Interval

_Z95 = 1.959964


@dataclass(frozen=True)
class Share:
    """How many of how many, with its Wilson interval.

    Attributes:
        hits: how many.
        n: of how many.
    """

    hits: int
    n: int

    @property
    def share(self) -> float:
        """In [0, 1]; 0 of nothing."""
        return self.hits / self.n if self.n else 0.0

    @property
    def interval95(self) -> Interval:
        """Wilson's score interval (Wilson, "Probable Inference, the Law of Succession", JASA 1927)."""
        if not self.n:
            return Interval(0.0, 1.0)
        z2 = _Z95 * _Z95
        centre = (self.hits + z2 / 2) / (self.n + z2)
        half = _Z95 / (self.n + z2) * np.sqrt(self.hits * (self.n - self.hits) / self.n + z2 / 4)
        return Interval(max(float(centre - half), 0.0), min(float(centre + half), 1.0))


@dataclass(frozen=True)
class ModelErrors:
    """Errors of whole models of families that nothing was fitted on.

    Attributes:
        within_5_percent: models estimated within 5 %.
        within_10_percent: within 10 %.
        mape: mean absolute relative error.
        bias: mean relative error; positive for estimates that are too high.
        intervals: 90 % intervals that hold what was measured.
    """

    within_5_percent: Share
    within_10_percent: Share
    mape: float
    bias: float
    intervals: Share


@dataclass(frozen=True)
class EstimatedModel:
    """One model as estimated without its family.

    Attributes:
        name: such as "resnet18/int8".
        family: architecture family.
        measured_ms: its latency.
        estimated_ms: what was estimated.
        interval90_ms: calibrated on the other families.
        coverage: share of the estimate from exact table hits.
    """

    name: str
    family: str
    measured_ms: float
    estimated_ms: float
    interval90_ms: Interval
    coverage: float

    @property
    def relative_error(self) -> float:
        """Estimated over measured, less one."""
        return self.estimated_ms / self.measured_ms - 1

    @property
    def variant(self) -> str:
        """What of its name is not the architecture."""
        return self.name.partition("/")[2]


@dataclass(frozen=True)
class Evaluation:
    """How good the predictors of a table are.

    Attributes:
        operators: errors by family of operators, on operators that the forest did not see.
        by_forest: whole models, from forests and the operators they share with other families.
        no_hits: whole models, without a single operator in the table.
        by_table: whole models from their own operators' records; only the composition has not seen them.
    """

    operators: dict[str, FamilyErrors]
    by_forest: tuple[EstimatedModel, ...]
    no_hits: tuple[EstimatedModel, ...]
    by_table: tuple[EstimatedModel, ...]


def evaluate(table: LatencyTable, name: str, *, seed: int = 0) -> Evaluation:
    """Judges the predictors that ``train_predictors`` makes of a table.

    Args:
        table: operators and whole models.
        name: of its file, for errors.
        seed: of the forests.

    Raises:
        TableError: when the table holds too little to learn from.
    """
    judged = judge(table, name, seed=seed)
    strict = judge(table, name, seed=seed, hits=False)
    return Evaluation(
        operators=dict(judged.errors),
        by_forest=_estimated(judged, lambda m: m.by_forest),
        no_hits=_estimated(strict, lambda m: m.by_forest),
        by_table=_estimated(judged, lambda m: m.by_table),
    )


def model_errors(models: Sequence[EstimatedModel]) -> ModelErrors:
    """Sums up some models."""
    errors = np.asarray([m.relative_error for m in models], np.float64)
    held = sum(m.interval90_ms.low <= m.measured_ms <= m.interval90_ms.high for m in models)
    return ModelErrors(
        within_5_percent=Share(int((np.abs(errors) <= 0.05).sum()), len(models)),
        within_10_percent=Share(int((np.abs(errors) <= 0.1).sum()), len(models)),
        mape=float(np.abs(errors).mean()) if models else 0.0,
        bias=float(errors.mean()) if models else 0.0,
        intervals=Share(held, len(models)),
    )


def _estimated(judged: Judgement, which: Callable[[HeldOutModel], Candidate]) -> tuple[EstimatedModel, ...]:
    models = judged.models
    by_table, by_forest = scores_of(models)
    families = np.asarray([m.family for m in models])
    found = []
    for i, model in enumerate(models):
        others = families != families[i]
        intervals = calibrate(by_table[others], by_forest[others])
        raw = which(model).estimate
        centre, coverage = raw.latency_ms, raw.coverage
        down = intervals.half_log(float(np.log(centre / raw.interval90_ms.low)), coverage)
        up = intervals.half_log(float(np.log(raw.interval90_ms.high / centre)), coverage)
        interval = Interval(centre * float(np.exp(-down)), centre * float(np.exp(up)))
        found.append(EstimatedModel(model.name, model.family, model.measured_ms, centre, interval, coverage))
    return tuple(found)

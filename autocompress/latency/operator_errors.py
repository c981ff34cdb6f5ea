"""How wrong forests are about operators that they did not see, and how wide their intervals must be for it.

Half widths are conformal: the 90 % quantile, over held-out operators, of |log error| over the spread of the trees, with
a floor (Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 2018, with a locally weighted score).
A forest that saw no operator of a dispatch class is far more wrong about it than its trees disagree, so that such
operators have a scale of their own, common to all families.  Errors are those of time plus the record's spread, so
that an operator too short for the clock is not held against a forest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.latency.families import family_of
from autocompress.latency.held_out import HeldOutPrediction
from autocompress.latency.intervals import conformal_quantile
from autocompress.latency.record import LatencyRecord

FloatArray = npt.NDArray[np.float64]
SPREAD_FLOOR = 0.02  # trees that agree perfectly are still wrong by the noise of the clock
UNKNOWN_FLOOR = 0.3  # what trees say of a class they never saw says little
_FEWEST = 8
_WORST = 5


@dataclass(frozen=True)
class FamilyErrors:
    """Errors of one family on operators that its forest did not see.

    Attributes:
        rows: records the forest was fitted on.
        judged: records it was judged on.
        mape: mean absolute relative error.
        median: median absolute relative error.
        within_5_percent: share of records predicted within 5 %.
        within_10_percent: share of records predicted within 10 %.
        interval_scale: half width of the 90 % interval in units of the trees' spread.
        unknown_scale: the same for operators of a dispatch class that the forest did not see.
        interval_coverage: share of judged records whose time lay in the interval.
        worst: (signature key, predicted over measured), the worst first.
    """

    rows: int
    judged: int
    mape: float
    median: float
    within_5_percent: float
    within_10_percent: float
    interval_scale: float
    unknown_scale: float
    interval_coverage: float
    worst: tuple[tuple[str, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        row: dict[str, Any] = {name: value for name, value in vars(self).items() if name != "worst"}
        row = {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
        if not self.judged:
            row |= dict.fromkeys(("mape", "median", "within_5_percent", "within_10_percent", "interval_coverage"))
        row["worst"] = [{"key": key, "predicted_over_measured": round(ratio, 3)} for key, ratio in self.worst]
        return row


def half_width(row: Mapping[str, Any], spread: float, *, known: bool) -> float:
    """Half width of the 90 % interval of log(microseconds).

    Args:
        row: a family's row of the card.
        spread: over trees.
        known: whether the forest saw the operator's dispatch class.
    """
    if known:
        return float(row["interval_scale"]) * (spread + SPREAD_FLOOR)
    return float(row["unknown_scale"]) * (spread + UNKNOWN_FLOOR)


def operator_errors(
    records: Sequence[LatencyRecord], predictions: Mapping[str, HeldOutPrediction]
) -> dict[str, FamilyErrors]:
    """Errors by family.

    Args:
        records: valid ones.
        predictions: by signature key, of forests that did not see the operator.
    """
    by_family: dict[str, list[LatencyRecord]] = {}
    for record in sorted(records, key=lambda r: r.signature.key):
        by_family.setdefault(family_of(record.signature), []).append(record)
    unknown = _scores([r for r in records if _is(predictions, r, known=False)], predictions, UNKNOWN_FLOOR)
    known = _scores([r for r in records if _is(predictions, r, known=True)], predictions, SPREAD_FLOOR)
    unknown_scale = conformal_quantile(unknown) if len(unknown) >= _FEWEST else 3.0
    usual_scale = conformal_quantile(known) if len(known) >= _FEWEST else 3.0
    return {
        family: _family_errors(rows, predictions, usual_scale, unknown_scale)
        for family, rows in sorted(by_family.items())
    }


def _family_errors(
    rows: Sequence[LatencyRecord],
    predictions: Mapping[str, HeldOutPrediction],
    usual_scale: float,
    unknown_scale: float,
) -> FamilyErrors:
    judged = [r for r in rows if r.signature.key in predictions]
    known = _scores([r for r in judged if _is(predictions, r, known=True)], predictions, SPREAD_FLOOR)
    scale = conformal_quantile(known) if len(known) >= _FEWEST else usual_scale
    if not judged:
        return FamilyErrors(len(rows), 0, 0.0, 0.0, 0.0, 0.0, scale, unknown_scale, 0.0, ())
    errors = np.asarray([_log_error(r, predictions[r.signature.key]) for r in judged])
    relative = np.abs(np.expm1(errors))
    scales = {"interval_scale": scale, "unknown_scale": unknown_scale}
    halves = np.asarray(
        [half_width(scales, p.spread, known=p.known) for p in (predictions[r.signature.key] for r in judged)]
    )
    worst = np.argsort(-np.abs(errors), kind="stable")[:_WORST]
    return FamilyErrors(
        rows=len(rows),
        judged=len(judged),
        mape=float(relative.mean()),
        median=float(np.median(relative)),
        within_5_percent=float((relative <= 0.05).mean()),
        within_10_percent=float((relative <= 0.1).mean()),
        interval_scale=scale,
        unknown_scale=unknown_scale,
        interval_coverage=float((np.abs(errors) <= halves).mean()),
        worst=tuple((judged[i].signature.key, float(np.exp(errors[i]))) for i in worst),
    )


def _is(predictions: Mapping[str, HeldOutPrediction], record: LatencyRecord, *, known: bool) -> bool:
    prediction = predictions.get(record.signature.key)
    return prediction is not None and prediction.known == known


def _scores(records: Sequence[LatencyRecord], predictions: Mapping[str, HeldOutPrediction], floor: float) -> FloatArray:
    pairs = [(r, predictions[r.signature.key]) for r in records]
    return np.asarray([abs(_log_error(record, p)) / (p.spread + floor) for record, p in pairs], np.float64)


def _log_error(record: LatencyRecord, prediction: HeldOutPrediction) -> float:
    """Log of predicted over measured; what the clock did not resolve counts for both."""
    unresolved = record.spread_us
    return float(np.log((np.exp(prediction.log_us) + unresolved) / (record.minimum_us + unresolved)))

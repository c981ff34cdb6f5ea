"""A roofline whose ceilings are fitted, kernel by kernel: time = sum over counts of rate * count.

    t_us(operator) = sum_k rate_us[k] * work_terms[k],    rate_us >= 0

(non-negative least squares on relative errors, with Huber's loss).  Rates are fitted from the general to the special:
for a family of operators, for its layout, for a kernel, for a dispatch class.  Each level starts from the one above,
scaled by the median of what it measured, and departs from it as far as its own records insist: a class of few records
keeps the proportions of its relatives, and an operator of a class never seen is priced as its relatives are.  The
result stays within the range of time / roofline bound that was seen: sums of fitted rates extrapolate far, not wildly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.errors import TableError
from autocompress.latency.operator_rows import OperatorRows
from autocompress.latency.work_terms import COMMON, WORK_TERMS

FloatArray = npt.NDArray[np.float64]
_LOYALTY = 4.0  # weight of the level above, in records
_FEWEST_ROWS = 6  # below it a level only scales the one above
_HUBER = 0.1
_REWEIGHTINGS = 8
_MARGIN = 0.15  # log beyond the range of ratios seen
_DIGITS = 5


@dataclass(frozen=True)
class FittedRoofline:
    """Rates of one family.

    Attributes:
        rates: path of a level -> microseconds per count, of shape (terms,); "" is the family.
        ranges: path of a level -> least and largest log(time / roofline bound) seen there.
    """

    rates: Mapping[str, FloatArray]
    ranges: Mapping[str, tuple[float, float]]

    def terms_us(self, rows: OperatorRows) -> FloatArray:
        """What each count contributes, in microseconds before the limits, of shape (operators, terms)."""
        rates = np.asarray([self.rates[_known(path, self.rates)] for path in rows.paths])
        return np.asarray(rows.counts * rates.reshape(len(rows), WORK_TERMS))

    def latency_us(self, rows: OperatorRows) -> FloatArray:
        """Price of each operator, of shape (operators,)."""
        limits = np.asarray([self.ranges[_known(path, self.ranges)] for path in rows.paths]).reshape(-1, 2)
        ratios = np.maximum(self.terms_us(rows).sum(axis=1), 1e-6) / rows.bound_us
        low, high = limits[:, 0] - _MARGIN, limits[:, 1] + _MARGIN
        return np.asarray(rows.bound_us * np.exp(np.clip(np.log(ratios), low, high)))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "rates": {path: rates.tolist() for path, rates in self.rates.items()},
            "ranges": {path: list(limits) for path, limits in self.ranges.items()},
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> FittedRoofline:
        """Inverse of ``to_dict``.

        Raises:
            TableError: when it is malformed.
        """
        try:
            rates = {str(path): np.asarray(values, np.float64) for path, values in row["rates"].items()}
            ranges = {str(path): (float(low), float(high)) for path, (low, high) in row["ranges"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableError(f"the rates of predictors are malformed ({error}); train them again") from error
        if "" not in rates or "" not in ranges or any(r.shape != (WORK_TERMS,) for r in rates.values()):
            raise TableError("the rates of predictors do not fit this version; train them again")
        return cls(rates, ranges)


def fit_roofline(rows: OperatorRows, latency_us: FloatArray, weights: FloatArray) -> FittedRoofline:
    """Fits one family.

    Args:
        rows: its measured operators.
        latency_us: their times, of shape (operators,).
        weights: what each time is worth, of shape (operators,).
    """
    log_ratios = np.log(latency_us / rows.bound_us)
    members: dict[str, list[int]] = defaultdict(list)
    for i, path in enumerate(rows.paths):
        for level in path:
            members[level].append(i)
    usual = np.zeros(WORK_TERMS)
    usual[: len(COMMON)] = _fit(rows.counts[:, : len(COMMON)], latency_us, weights, None)
    rates: dict[str, FloatArray] = {"": _fit(rows.counts, latency_us, weights, usual)}
    ranges: dict[str, tuple[float, float]] = {}
    for level in sorted(members, key=lambda name: (name.count("/"), name)):
        chosen = np.asarray(members[level])
        if level:
            above = rates[level.rpartition("/")[0]]
            rates[level] = _specialized(rows.counts[chosen], latency_us[chosen], weights[chosen], above)
        if not level or len(chosen) >= _FEWEST_ROWS:
            seen = log_ratios[chosen]
            ranges[level] = (round(float(seen.min()), 4), round(float(seen.max()), 4))
    return FittedRoofline({level: _rounded(r) for level, r in rates.items()}, ranges)


def _known(path: tuple[str, ...], levels: Mapping[str, Any]) -> str:
    """The most special level that was fitted."""
    return next(level for level in reversed(path) if level in levels)


def _specialized(counts: FloatArray, latency_us: FloatArray, worth: FloatArray, above: FloatArray) -> FloatArray:
    ratios = np.log(latency_us / np.maximum(counts @ above, 1e-9))
    scaled = above * np.exp(np.median(ratios) * len(ratios) / (len(ratios) + 1))
    return _fit(counts, latency_us, worth, scaled) if len(ratios) >= _FEWEST_ROWS else scaled


def _fit(counts: FloatArray, latency_us: FloatArray, worth: FloatArray, prior: FloatArray | None) -> FloatArray:
    from scipy.optimize import nnls

    relative = counts / latency_us[:, None]
    scale = np.sqrt((relative**2).mean(axis=0))
    live = scale > 0
    rates = np.zeros(counts.shape[1]) if prior is None else prior.copy()
    relative = relative[:, live] / scale[live]
    loyalty = np.zeros((0, live.sum())) if prior is None else np.sqrt(_LOYALTY) * np.eye(int(live.sum()))
    wanted = np.zeros(0) if prior is None else np.sqrt(_LOYALTY) * prior[live] * scale[live]
    weights = np.sqrt(worth)
    for _ in range(_REWEIGHTINGS):
        solution, _ = nnls(np.vstack([relative * weights[:, None], loyalty]), np.concatenate([weights, wanted]))
        errors = np.abs(relative @ solution - 1)
        weights = np.sqrt(worth * np.minimum(1.0, _HUBER / np.maximum(errors, 1e-9)))
    rates[live] = solution / scale[live]
    return rates


def _rounded(rates: FloatArray) -> FloatArray:
    """As they stand on the card, so that what is fitted on them fits what is served."""
    return np.asarray([float(f"{rate:.{_DIGITS}g}") for rate in rates])

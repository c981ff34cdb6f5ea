"""Correcting the estimates of a model's candidates by what measurements of some of them said.

Candidates of one model are wrong alike: all by what the model has of its own (a common factor), and those with much
time in one kind of operator by what is wrong about that kind.  With r = log(measured / estimated) and s the shares of a
candidate's time by kind of operator, r is taken as a Gaussian process over candidates with

    cov(r_i, r_j) = common_i common_j + kind_i kind_j s_i . s_j + noise_i^2 [i = j]

so that k measured candidates (anchors; the baseline is one) give every other its correction and its uncertainty in
closed form (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, eq. 2.25 and 2.26): none without
anchors, close to a plain factor for one, by kinds for several.  The three deviations are larger for estimates that rest
on forests than for estimates that rest on the table; those of a candidate lie between, by its coverage.  They are
fitted on zoo models whose family nothing else was fitted on, by the largest marginal likelihood, and what the resulting
deviation is worth is calibrated on the same models.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.errors import TableError
from autocompress.latency.composition import KINDS
from autocompress.latency.intervals import conformal_quantile
from autocompress.measurement import EstimatedLatency, Interval

FloatArray = npt.NDArray[np.float64]
_COMMON = (0.0, 0.02, 0.04, 0.08, 0.16)
_KIND = (0.0, 0.02, 0.04, 0.08, 0.16, 0.32)
_NOISE = (0.005, 0.01, 0.02, 0.03, 0.05)
_FEWEST = 20
_ANCHORS = (1, 2)
_NORMAL90 = 1.645


@dataclass(frozen=True)
class Candidate:
    """One candidate as estimated.

    Attributes:
        estimate: before any correction.
        shares: kind of operator -> its part of the estimated time.
    """

    estimate: EstimatedLatency
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Anchor:
    """A candidate that was measured.

    Attributes:
        candidate: as estimated.
        measured_ms: its latency.
    """

    candidate: Candidate
    measured_ms: float


@dataclass(frozen=True)
class Deviations:
    """How wrong estimates of one model's candidates are, and how alike, in logs.

    Attributes:
        common: what all candidates of a model share.
        kind: what one kind of operator brings.
        noise: what each candidate has of its own, its measurement's noise included.
        factor90: half width of the 90 % interval, in deviations of the corrected estimate.
    """

    common: float
    kind: float
    noise: float
    factor90: float = _NORMAL90


@dataclass(frozen=True)
class AnchorPrior:
    """What is known about candidates before any is measured; the defaults are for a device nobody calibrated.

    Attributes:
        table: of estimates that rest on the table alone.
        forest: of estimates that rest on forests alone.
        candidates: held-out candidates that this was calibrated on.
    """

    table: Deviations = field(default_factory=lambda: Deviations(0.05, 0.03, 0.03))
    forest: Deviations = field(default_factory=lambda: Deviations(0.1, 0.16, 0.05))
    candidates: int = 0

    def correct(self, candidate: Candidate, anchors: Sequence[Anchor]) -> EstimatedLatency:
        """The estimate, corrected by the anchors; as it was without any."""
        if not anchors:
            return candidate.estimate
        mean, deviation = self.posterior(candidate, anchors)
        latency_ms = candidate.estimate.latency_ms * float(np.exp(mean))
        factor = float(np.exp(self._between("factor90", [candidate])[0] * deviation))
        return replace(
            candidate.estimate, latency_ms=latency_ms, interval90_ms=Interval(latency_ms / factor, latency_ms * factor)
        )

    def posterior(self, candidate: Candidate, anchors: Sequence[Anchor]) -> tuple[float, float]:
        """Mean and deviation of log(measured / estimated) of a candidate, given the anchors."""
        known = [anchor.candidate for anchor in anchors]
        residuals = np.log([a.measured_ms / a.candidate.estimate.latency_ms for a in anchors])
        across = self._covariance(known, [candidate])[:, 0]
        gain = np.linalg.solve(self._covariance(known, known) + self._noise(known), across)
        own = float((self._covariance([candidate], [candidate]) + self._noise([candidate]))[0, 0])
        floor = float(self._noise([candidate])[0, 0])
        return float(gain @ residuals), float(np.sqrt(max(own - float(gain @ across), floor)))

    def log_likelihood(self, anchors: Sequence[Anchor]) -> float:
        """Log marginal likelihood of all candidates of one model, less a constant."""
        known = [anchor.candidate for anchor in anchors]
        residuals = np.log([a.measured_ms / a.candidate.estimate.latency_ms for a in anchors])
        root = np.linalg.cholesky(self._covariance(known, known) + self._noise(known))
        whitened = np.linalg.solve(root, residuals)
        return float(-0.5 * whitened @ whitened - np.log(np.diag(root)).sum())

    def _between(self, name: str, candidates: Sequence[Candidate]) -> FloatArray:
        coverage = np.asarray([c.estimate.coverage for c in candidates])
        return np.asarray(coverage * getattr(self.table, name) + (1 - coverage) * getattr(self.forest, name))

    def _covariance(self, a: Sequence[Candidate], b: Sequence[Candidate]) -> FloatArray:
        shares = [np.asarray([[c.shares.get(kind, 0.0) for kind in KINDS] for c in side]) for side in (a, b)]
        common = np.outer(self._between("common", a), self._between("common", b))
        kind = np.outer(self._between("kind", a), self._between("kind", b))
        return np.asarray(common + kind * (shares[0] @ shares[1].T))

    def _noise(self, candidates: Sequence[Candidate]) -> FloatArray:
        return np.diag(self._between("noise", candidates) ** 2)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        row = asdict(self)
        for name in ("table", "forest"):
            row[name] = {key: float(f"{value:.4g}") for key, value in row[name].items()}
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> AnchorPrior:
        """Inverse of ``to_dict``.

        Raises:
            TableError: when it is malformed.
        """
        try:
            return cls(Deviations(**row["table"]), Deviations(**row["forest"]), int(row["candidates"]))
        except (KeyError, TypeError, ValueError) as error:
            raise TableError(f"the anchoring terms of predictors are malformed ({error}); train them again") from error


def fit_anchoring(by_table: Sequence[Sequence[Anchor]], by_forest: Sequence[Sequence[Anchor]]) -> AnchorPrior:
    """Fits the deviations.

    Args:
        by_table: for each model its candidates, all measured, estimated from the table.
        by_forest: the same, estimated from forests.
    """
    table = [group for group in by_table if len(group) > 1]
    forest = [group for group in by_forest if len(group) > 1]
    candidates = sum(len(group) for group in table)
    if candidates < _FEWEST:
        return AnchorPrior()
    return AnchorPrior(_fitted(table), _fitted(forest), candidates)


def _fitted(groups: Sequence[Sequence[Anchor]]) -> Deviations:
    """The likeliest deviations, and the factor with which intervals hold after one anchor and after two."""

    def likelihood(values: tuple[float, float, float]) -> float:
        prior = AnchorPrior(Deviations(*values), Deviations(*values))
        return sum(prior.log_likelihood(group) for group in groups)

    best = max(itertools.product(_COMMON, _KIND, _NOISE), key=likelihood)
    prior = AnchorPrior(Deviations(*best), Deviations(*best))
    scores = []
    for group in groups:
        for k in _ANCHORS:
            for scored in group[k:]:
                mean, deviation = prior.posterior(scored.candidate, group[:k])
                error = np.log(scored.measured_ms / scored.candidate.estimate.latency_ms) - mean
                scores.append(abs(float(error)) / deviation)
    return Deviations(*best, factor90=conformal_quantile(np.asarray(scores)))

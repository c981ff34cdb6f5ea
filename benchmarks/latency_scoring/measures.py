"""The statistics of the report, each a small function of plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """How many of n.

    Attributes:
        hits: how many.
        n: of how many.
    """

    hits: int
    n: int

    @property
    def value(self) -> float:
        """The share; NaN of nothing."""
        return self.hits / self.n if self.n else float("nan")

    @property
    def interval95(self) -> tuple[float, float]:
        """Wilson's score interval."""
        return wilson_interval(self.hits, self.n)

    def to_dict(self) -> dict[str, float | int]:
        """JSON-ready form."""
        low, high = self.interval95
        return {"share": self.value, "low": low, "high": high, "hits": self.hits, "n": self.n}


def wilson_interval(hits: int, n: int, z: float = _Z95) -> tuple[float, float]:
    """Score interval of a binomial share (Wilson, "Probable Inference", JASA 1927); (0, 1) of nothing."""
    if n == 0:
        return 0.0, 1.0
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def relative_errors(truth: Sequence[float], predicted: Sequence[float]) -> Floats:
    """Predicted over true, less one, of shape (n,)."""
    return np.asarray(predicted, np.float64) / np.asarray(truth, np.float64) - 1.0


def within(errors: Floats, limit: float) -> Share:
    """How many errors are no larger than ``limit``, up or down."""
    return Share(int((np.abs(errors) <= limit).sum()), len(errors))


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation, ties sharing their mean rank; NaN where one side does not vary."""
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (a, b)]
    if len(a) < 2 or any(np.ptp(r) == 0 for r in ranks):
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def close_windows(truth: Sequence[float], *, ratio: float = 1.2, fewest: int = 5) -> list[list[int]]:
    """Groups of models that are hard to tell apart: from each one on, all that are slower by up to ``ratio``.

    Args:
        truth: true latencies.
        ratio: slowest over fastest of a group.
        fewest: smaller groups say nothing about ranks and are left out.

    Returns:
        Positions in ``truth``, fastest first; a group that is part of the one before is left out.
    """
    order = [int(i) for i in np.argsort(np.asarray(truth), kind="stable")]
    windows: list[list[int]] = []
    for start, first in enumerate(order):
        group = [i for i in order[start:] if truth[i] <= ratio * truth[first]]
        if len(group) >= fewest and not (windows and set(group) <= set(windows[-1])):
            windows.append(group)
    return windows


def regret(truth: Sequence[float], predicted: Sequence[float]) -> float:
    """By how much the one predicted to be fastest is slower than the one that is, as a share."""
    chosen = int(np.argmin(np.asarray(predicted)))
    return float(truth[chosen] / min(truth) - 1.0)

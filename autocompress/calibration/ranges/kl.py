"""KLD: the threshold whose quantized distribution loses the least information, after TensorRT's description.

S. Migacz, 8-bit inference with TensorRT, GTC 2017.  From a histogram of magnitudes, for every number i of bins kept:

    P   the first i bins; what lies beyond is added to the last of them
    Q   the first i bins pooled into as many levels as the grid has, each level's sum spread evenly over those of its
        bins that are not empty
    choose the i with the least KL(P || Q), both normalised

Levels are runs of bins: level l of n takes bins ceil(l i / n) to ceil((l + 1) i / n) - 1.  Candidates whose last bin is
empty while values lie beyond have an infinite divergence.  Exact zeros are not counted, since every grid has them.

With S, k the sum and the number of non-empty bins of a level, c the bins, o the values beyond and N their total,

    N KL = sum c log c + (c_last + o) log(c_last + o) - N log N
           - sum over levels S (log S - log k) - o (log S_last - log k_last) + N log(sum S)

so a candidate costs a look-up per level instead of a pass over the bins.
"""

from __future__ import annotations

import numpy as np

from autocompress.calibration.histogram import CountArray, DoubleArray
from autocompress.calibration.ranges.density import magnitude_counts, side_counts
from autocompress.calibration.ranges.form import GridForm, TensorRange
from autocompress.calibration.statistics import TensorStatistics

# TensorRT uses 2048 bins.  Bins here have a power-of-two width, so their number lies in (BINS_MAX / 2, BINS_MAX];
# there are no more of them than values, or nearly all would be empty, but always twice as many as levels.
BINS_MAX = 4096
SHARE_MIN = 1 / 8
BULK = 0.999
_CANDIDATES_AT_ONCE = 128


def kl(statistics: TensorStatistics, form: GridForm) -> TensorRange:
    """The range with the least Kullback-Leibler divergence.

    Where both ends are free, each side of zero is treated by itself, with its share of the levels: that which the bulk
    of its values takes of the width of both.  A side with so small a share that clipping it would hardly make the steps
    finer is kept whole.
    """
    width = statistics.histogram.width
    if form.by_magnitude(statistics):
        levels = 1 << (form.bits - 1 if form.mirrored(statistics) else form.bits)
        return form.range_of_magnitude(statistics, _threshold(magnitude_counts(statistics), levels) * width)
    sides = side_counts(statistics)
    bulks = [_bulk(counts) for counts in sides]
    ends = []
    for counts, bulk in zip(sides, bulks, strict=True):
        share = bulk / sum(bulks)
        kept = _threshold(counts, round(share * (1 << form.bits))) if share > SHARE_MIN else counts.size
        ends.append(kept * width)
    return form.range(statistics, -ends[0], ends[1])


def _bulk(counts: CountArray) -> int:
    """The number of leading bins that hold all but the outliers."""
    below = np.cumsum(counts)
    return int(np.searchsorted(below, BULK * counts.sum())) + 1


def _threshold(counts: CountArray, levels: int) -> int:
    """The number of leading bins to keep, a multiple of a power of two."""
    bins = min(max(int(counts.sum()), 2 * levels), BINS_MAX)
    pooled = 1 << (-(-counts.size // bins) - 1).bit_length()
    counts = np.pad(counts, (0, -counts.size % pooled)).reshape(-1, pooled).sum(axis=1)
    return kept_bins(counts, levels) * pooled


def kept_bins(counts: CountArray, levels: int) -> int:
    """The number of leading bins with the least divergence; all of them where there are no more than ``levels``.

    Args:
        counts: values per bin of magnitude, of shape (bins,).
        levels: levels of the grid on the side of the magnitudes.
    """
    if counts.size <= levels:
        return int(counts.size)
    totals = _Totals(counts)
    candidates = np.arange(levels, counts.size + 1)
    parts = np.array_split(candidates, -(-candidates.size // _CANDIDATES_AT_ONCE))
    divergences = np.concatenate([totals.divergences(part, levels) for part in parts])
    return int(candidates[np.argmin(divergences)])


class _Totals:
    """Running totals of a histogram, and divergences from them."""

    def __init__(self, counts: CountArray) -> None:
        self._counts = counts.astype(np.float64)
        self._sum = np.concatenate([[0.0], np.cumsum(self._counts)])
        self._occupied = np.concatenate([[0.0], np.cumsum(counts > 0, dtype=np.float64)])
        self._entropy = np.concatenate([[0.0], np.cumsum(_x_log_x(self._counts))])

    def divergences(self, kept: CountArray, levels: int) -> DoubleArray:
        """N (KL(P || Q) + log N) for each number of kept bins."""
        borders = -(-kept[:, None] * np.arange(levels + 1) // levels)
        sums = _steps(self._sum[borders])
        occupied = _steps(self._occupied[borders])
        logs = np.log(sums / np.maximum(occupied, 1.0), out=np.zeros_like(sums), where=sums > 0.0)
        total, inside, last = self._sum[-1], self._sum[kept], self._counts[kept - 1]
        beyond = total - inside
        possible = (last > 0.0) | (beyond == 0.0)
        reference = self._entropy[kept - 1] + _x_log_x(last + beyond)
        candidate = (sums * logs).sum(axis=1) + beyond * logs[:, -1]
        normalisation = total * np.log(inside, out=np.zeros_like(inside), where=inside > 0.0)
        return np.where(possible, reference - candidate + normalisation, np.inf)


def _steps(running: DoubleArray) -> DoubleArray:
    return running[:, 1:] - running[:, :-1]


def _x_log_x(values: DoubleArray) -> DoubleArray:
    return values * np.log(values, out=np.zeros_like(values), where=values > 0.0)

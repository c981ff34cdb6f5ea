"""Which samples calibrate, which steer the search, which have the last word."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autocompress.data.samples import Array
from autocompress.errors import DataError

LARGEST_CALIBRATION = 128
"""Ranges settle within some tens of images; more samples serve better as evidence."""

CALIBRATION_SHARE = 0.3
SEARCH_SHARE = 0.4
"""Of what calibration leaves.  Verification takes the larger part: its interval is what the user is told, and it is
run a few times only, while the search part is paid for by every trial and needs to rank candidates, not to prove."""

SMALLEST_PART = 4
"""Below this an interval says nothing."""

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Disjoint samples in random order, so that any beginning of a part is a fair sample of it.

    Attributes:
        calibration: indices into the calibration data (the data itself unless given separately).
        search: indices that trials are evaluated on.
        verification: indices that the reported figures come from.
    """

    calibration: IndexArray
    search: IndexArray
    verification: IndexArray


def split_groups(groups: Array, seed: int, *, separate_calibration: int | None = None) -> Split:
    """Splits samples so that those of one group stay in one part (the two sentences of a pair, the frames of a video).

    Args:
        groups: of shape (n,), equal for samples that belong together.
        seed: as for ``split_samples``.
        separate_calibration: as for ``split_samples``.

    Raises:
        DataError: when there are fewer groups than 4 per part, or ``groups`` has another shape.
    """
    if groups.ndim != 1:
        raise DataError(f"the array 'groups' has shape {groups.shape}; it needs one value per sample")
    names, member = np.unique(groups, return_inverse=True)
    split = split_samples(len(names), seed, separate_calibration=separate_calibration)
    order = np.random.default_rng([seed, len(groups)]).permutation(len(groups))
    parts = [order[np.isin(member[order], part)] for part in (split.calibration, split.search, split.verification)]
    calibration = split.calibration if separate_calibration is not None else parts[0][:LARGEST_CALIBRATION]
    return Split(calibration.astype(np.int64), parts[1].astype(np.int64), parts[2].astype(np.int64))


def split_samples(n: int, seed: int, *, separate_calibration: int | None = None, labels: Array | None = None) -> Split:
    """Splits ``n`` samples by seed, stratified where ``labels`` are integer classes.

    Without separate calibration data, calibration gets at most 128 samples and at most 30 % (at least 4); search gets
    40 % of the rest and verification 60 %.

    Args:
        n: number of samples.
        seed: the same seed and labels give the same split.
        separate_calibration: number of samples of a calibration set of its own, or None.
        labels: of shape (n, ...); anything but whole numbers of shape (n,) or (n, 1) is ignored.

    Raises:
        DataError: when there are fewer samples than 4 per part.
    """
    generator = np.random.default_rng([seed, n])
    parts = 2 if separate_calibration is not None else 3
    if n < parts * SMALLEST_PART:
        raise DataError(
            f"{n} samples are too few: {parts * SMALLEST_PART} are needed, {SMALLEST_PART} each for "
            f"{'calibration, ' if parts == 3 else ''}search and verification."
        )
    if separate_calibration == 0:
        raise DataError("The calibration data holds no samples.")
    calibrating = 0
    if separate_calibration is None:
        calibrating = min(LARGEST_CALIBRATION, max(SMALLEST_PART, int(n * CALIBRATION_SHARE)))
    searching = max(SMALLEST_PART, round((n - calibrating) * SEARCH_SHARE))
    sizes = (calibrating, searching, n - calibrating - searching)
    part = _deal(_strata(n, labels, generator), sizes)
    calibration, search, verification = (generator.permutation(np.flatnonzero(part == k)) for k in range(3))
    if separate_calibration is not None:
        calibration = generator.permutation(separate_calibration)[:LARGEST_CALIBRATION].astype(np.int64)
    return Split(calibration, search, verification)


def _strata(n: int, labels: Array | None, generator: np.random.Generator) -> IndexArray:
    """All samples in random order, samples of one class next to each other, classes in random order."""
    order = generator.permutation(n)
    if labels is None or labels.dtype.kind not in "iu" or labels.shape not in ((n,), (n, 1)):
        return order
    classes, position = np.unique(labels.reshape(n), return_inverse=True)
    rank = generator.permutation(len(classes))
    return order[np.argsort(rank[position[order]], kind="stable")]


def _deal(order: IndexArray, sizes: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Part of each sample: dealt along ``order`` to the part that is furthest behind its share, sizes met exactly."""
    targets = np.array(sizes, dtype=np.float64)
    dealt = np.zeros(len(sizes))
    part = np.empty(len(order), dtype=np.int64)
    for k, sample in enumerate(order, start=1):
        behind = np.where(dealt < targets, targets * (k / len(order)) - dealt, -np.inf)
        chosen = int(np.argmax(behind))
        part[sample] = chosen
        dealt[chosen] += 1
    return part

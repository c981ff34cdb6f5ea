"""In which order the units of a group go, if the layers that read them are solved anew each time.

With H = (E[x x'])^-1 a layer y = W x that loses the columns U, and whose other columns are then the best ones, loses
the mean square tr(W_U (H_UU)^-1 W_U'); the best other columns are W - W_U (H_UU)^-1 H_U, and H becomes
H - H_,U (H_UU)^-1 H_U (the optimal brain surgeon, Hassibi and Stork 1993, for groups of columns as in ZipLM, Kurtic et
al., NeurIPS 2023).  The unit that costs least goes, one after the other; so one run gives the units and the loss for
every width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autocompress.passes.prune.moments import DoubleArray, Reader

_STEPS = 48  # most steps; larger groups lose several units at once


def removal_losses(readings: Sequence[tuple[Reader, npt.NDArray[np.int64]]], size: int) -> DoubleArray:
    """What is lost by the time that each unit has gone.

    Args:
        readings: the readers of a group, each with the unit of each of its weight's columns (see ``column_units``).
        size: number of units.

    Returns:
        Of shape (size,), for each unit the squared error of the readers' outputs, relative to their variance and summed
        over readers, once this unit and all that go before it are gone.  The first to go has the lowest.
    """
    surgeries = [_Surgery(reader, units, size) for reader, units in readings]
    left = np.arange(size)
    reached = np.zeros(size)
    total = 0.0
    count = -(-size // _STEPS)
    while len(left):
        losses = np.sum([surgery.losses(left) for surgery in surgeries], axis=0)
        going = left[np.argsort(losses, kind="stable")[: min(count, len(left))]]
        lost = sum(surgery.remove(going) for surgery in surgeries)
        # Units that go together are told apart by what each alone would cost.
        reached[going] = total + lost * np.arange(1, len(going) + 1) / len(going)
        total += lost
        left = np.setdiff1d(left, going)
    return reached


class _Surgery:
    """One reader in the course of losing columns."""

    def __init__(self, reader: Reader, units: npt.NDArray[np.int64], size: int) -> None:
        self._inverse = np.linalg.inv(reader.gram)
        self._weight = reader.weight / np.sqrt(reader.power)
        self._columns = [np.flatnonzero(units == unit) for unit in range(size)]

    def losses(self, units: npt.NDArray[np.int64]) -> DoubleArray:
        """What each of some units costs if it goes alone."""
        widths = np.array([len(self._columns[unit]) for unit in units])
        found = np.zeros(len(units))
        for width in np.unique(widths[widths > 0]):
            same = np.flatnonzero(widths == width)
            columns = np.array([self._columns[unit] for unit in units[same]])
            blocks = self._inverse[columns[:, :, None], columns[:, None, :]]
            own = self._weight[:, columns].transpose(1, 2, 0)  # (units, width, outputs)
            found[same] = np.einsum("uwo,uwo->u", own, np.linalg.solve(blocks, own))
        return np.maximum(found, 0.0)

    def remove(self, units: npt.NDArray[np.int64]) -> float:
        """Takes units out, and says what they cost together."""
        columns = np.concatenate([self._columns[unit] for unit in units])
        if not len(columns):
            return 0.0
        block = self._inverse[np.ix_(columns, columns)]
        rows = self._inverse[columns]
        own = self._weight[:, columns]
        lost = float(np.einsum("ow,wo->", own, np.linalg.solve(block, own.T)))
        share = np.linalg.solve(block, rows)
        self._weight -= own @ share
        self._inverse -= rows.T @ share
        return max(lost, 0.0)

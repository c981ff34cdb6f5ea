"""GPTQ: weights are rounded one column after the other, and those that follow make up for the error.

With H = E[x x'] and U the upper Cholesky factor of its inverse, rounding column i of W leaves the error

    e = (w_i - q_i) / U_ii,    and    W[:, i:] -= e U[i, i:]

is the change of the columns after it that does most against it (Frantar et al., "GPTQ: Accurate Post-Training
Quantization for Generative Pre-trained Transformers", ICLR 2023, algorithm 1).  Columns with large inputs go first
(act order).  Scales are those of the grid, fixed before, so that blocks of weights keep theirs in any order.

The quantized model so far feeds other inputs than the float one.  The residual e = y - W x that this leaves is made up
for as well: the least-squares weight W + E[e x'] H^-1 is rounded instead of W.
"""

from __future__ import annotations

import numpy as np

from autocompress.passes.reconstruct.grid import WeightGrid
from autocompress.passes.reconstruct.layer import FloatArray, blocks_of
from autocompress.passes.reconstruct.moments import DoubleArray, MomentObjective

_COLUMNS = 128


def gptq(grid: WeightGrid, objective: MomentObjective, *, damping: float, act_order: bool) -> FloatArray:
    """Integers of shape (groups, O/g, K).

    Args:
        grid: the weight and its grid.
        objective: with all rows.
        damping: added to the diagonal of H, relative to its mean.
        act_order: whether columns with large inputs are rounded first.
    """
    hessian, cross = objective.estimated()
    integers = np.empty_like(grid.weight)
    for group in range(len(hessian)):
        columns = grid_of_group(grid, group)
        integers[group] = _round_columns(columns, hessian[group], cross[group], damping, act_order)
    return integers


def grid_of_group(grid: WeightGrid, group: int) -> WeightGrid:
    """The grid of one group, without the axis of groups."""
    return WeightGrid(
        grid.weight[group], grid.scales[group], grid.zero_points[group], grid.nearest[group], grid.low, grid.high
    )


def _round_columns(
    grid: WeightGrid, hessian: DoubleArray, cross: DoubleArray, damping: float, act_order: bool
) -> FloatArray:
    diagonal = np.diag(hessian).copy()
    if not (diagonal > 0.0).any():
        return grid.nearest.copy()
    damped = hessian + np.diag(np.full(len(diagonal), damping * diagonal.mean()))
    order = np.argsort(-diagonal, kind="stable") if act_order else np.arange(len(diagonal))
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    upper = np.linalg.cholesky((inverse + inverse.T) / 2.0).T
    left = (grid.weight + np.linalg.solve(damped, cross.T).T)[:, order]
    integers = np.empty_like(grid.weight)
    for start, stop in blocks_of(len(order), _COLUMNS):
        errors = np.empty((len(left), stop - start))
        for i in range(start, stop):
            column = order[i : i + 1]
            rounded = grid.rounded(left[:, i : i + 1], column)
            # A zero stays zero, and the columns after it make up for it as for any other error.
            integers[:, column] = np.where(grid.weight[:, column] == 0.0, grid.zero_points[:, column], rounded)
            gap = left[:, i] - grid.real(integers[:, column], column)[:, 0]
            errors[:, i - start] = gap / upper[i, i]
            left[:, i:stop] -= np.outer(errors[:, i - start], upper[i, i:stop])
        left[:, stop:] -= errors @ upper[start:stop, stop:]
    return integers

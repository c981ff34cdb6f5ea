"""AdaRound: whether each weight is rounded up or down is learned by gradient descent on the layer's output.

    W(V) = scale * (clip(floor(W / scale) + zero + h(V), low, high) - zero),   h(V) = clip(1.2 sigmoid(V) - 0.1, 0, 1)
    error(W(V)) / error(nearest) + regularization * mean(1 - |2 h(V) - 1|^beta)

beta falls from 20 to 2, after a share of the steps without regularization, so that every h ends at 0 or 1 (Nagel et
al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020, section 3.2; rectified sigmoid of
Louizos et al., ICLR 2018).  Gradients are written out and Adam is done in place: layers are small, and a step must
cost little more than its two matrix products.  Where the error is quadratic in the weight, each step sees all rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from autocompress.passes.reconstruct.config import ReconstructConfig
from autocompress.passes.reconstruct.grid import WeightGrid
from autocompress.passes.reconstruct.layer import FloatArray
from autocompress.passes.reconstruct.moments import MomentObjective
from autocompress.passes.reconstruct.rows import RowObjective

STRETCH = 0.1
HELD = -20.0
"""The variable of a weight that is rounded down for good: h has no slope there.  A zero weight has to stay zero."""
_WARM_UP = 0.2
_BETA = (20.0, 2.0)
_MEASURED_STEPS = 10
_FEWEST_STEPS = 100

Gradient = Callable[[int, torch.Tensor], torch.Tensor]


def adaround(
    grid: WeightGrid,
    objective: MomentObjective | RowObjective,
    bias: FloatArray,
    config: ReconstructConfig,
    *,
    seconds: float = math.inf,
) -> FloatArray:
    """Integers of shape (groups, O/g, K).

    Args:
        grid: the weight and its grid.
        objective: with all rows.
        bias: of the layer while it learns, of shape (groups, O/g); a free bias follows the weight by itself.
        config: steps, learning rate, regularization.
        seconds: time to stay within; the number of steps shrinks to fit.
    """
    if isinstance(objective, MomentObjective):
        gradient = _moment_gradient(objective)
    else:
        gradient = _row_gradient(objective, torch.from_numpy(bias), config.batch_rows)
    unit = objective.error(grid.real(grid.nearest), objective.fitted_bias(grid.real(grid.nearest)))
    rounding = _Rounding(grid, config, gradient, unit)
    return rounding.learn(config.iterations, seconds)


class _Rounding:
    """The variables V of one weight, and Adam on them."""

    def __init__(self, grid: WeightGrid, config: ReconstructConfig, gradient: Gradient, unit: float) -> None:
        self._scales = torch.from_numpy(grid.scales)
        self._zeros = torch.from_numpy(grid.zero_points)
        steps = torch.tensor(grid.weight) / self._scales
        self._floor = steps.floor()
        fraction = steps - self._floor
        self._floor += self._zeros
        self._variables = -torch.log((1.0 + 2.0 * STRETCH) / (fraction + STRETCH) - 1.0)
        self._variables[torch.from_numpy(grid.weight == 0.0)] = HELD
        self._low, self._high = float(grid.low), float(grid.high)
        # Beyond the grid there is nothing to choose.
        self._free = (self._floor >= self._low) & (self._floor < self._high)
        self._gradient = gradient
        self._per_error = self._scales * (self._free * (self._floor.numel() / max(unit, 1e-30)))
        self._rate = config.learning_rate
        self._regularization = config.regularization
        self._first = torch.zeros_like(self._variables)
        self._second = torch.zeros_like(self._variables)

    def learn(self, iterations: int, seconds: float) -> FloatArray:
        started = time.monotonic()
        step = 0
        while step < iterations:
            self._step(step, iterations)
            step += 1
            if step == _MEASURED_STEPS:
                affordable = seconds / max((time.monotonic() - started) / step, 1e-9)
                iterations = max(min(iterations, int(min(affordable, iterations))), _FEWEST_STEPS)
        up = (self._variables > 0.0).float()
        result: FloatArray = (self._floor + up).clamp(self._low, self._high).numpy()
        return result

    def _step(self, step: int, iterations: int) -> None:
        sigmoid = torch.sigmoid(self._variables)
        stretched = sigmoid * (1.0 + 2.0 * STRETCH) - STRETCH
        h = stretched.clamp(0.0, 1.0)
        integers = (self._floor + h).clamp(self._low, self._high)
        slope = self._gradient(step, (integers - self._zeros) * self._scales).mul_(self._per_error)
        warm_up = _WARM_UP * iterations
        if step >= warm_up:
            share = (step - warm_up) / max(iterations - warm_up, 1.0)
            beta = _BETA[1] + 0.5 * (_BETA[0] - _BETA[1]) * (1.0 + math.cos(math.pi * share))
            away = h.mul(2.0).sub_(1.0)
            slope -= away.sign() * away.abs_().pow_(beta - 1.0) * (2.0 * beta * self._regularization)
        slope *= sigmoid.mul(1.0 - sigmoid).mul_(1.0 + 2.0 * STRETCH)
        slope *= (stretched > 0.0) & (stretched < 1.0)
        self._adam(slope, step + 1)

    def _adam(self, slope: torch.Tensor, step: int) -> None:
        """One step of Adam (Kingma and Ba, 2015) with its usual constants."""
        self._first.lerp_(slope, 0.1)
        self._second.mul_(0.999).addcmul_(slope, slope, value=0.001)
        size = self._rate / (1.0 - 0.9**step)
        self._variables.addcdiv_(self._first, self._second.div(1.0 - 0.999**step).sqrt_().add_(1e-12), value=-size)


def _moment_gradient(objective: MomentObjective) -> Gradient:
    """Of the relative error by the weight, over all rows: 2 (D H - C) / |y|^2."""
    power = objective.power
    hessian, cross = (torch.from_numpy(moments).float() for moments in objective.estimated())
    constant = cross + torch.tensor(objective.weight) @ hessian

    def gradient(_: int, weight: torch.Tensor) -> torch.Tensor:
        return torch.bmm(weight, hessian).sub_(constant).mul_(2.0 / power)

    return gradient


def _row_gradient(objective: RowObjective, bias: torch.Tensor, batch_rows: int) -> Gradient:
    """Of the relative error by the weight, over a stretch of rows that moves on from step to step."""
    inputs, activation = torch.from_numpy(objective.inputs), objective.activation
    targets = torch.from_numpy(objective.targets)
    rows = inputs.shape[1]
    # A layer of many groups learns few numbers from each of them, and its products are slow.
    batch = min(batch_rows if len(inputs) == 1 else max(batch_rows // 2, 1), rows)
    factor = 2.0 / max(float(targets.square().sum(dtype=torch.float64)) * batch / rows, 1e-30)

    def gradient(step: int, weight: torch.Tensor) -> torch.Tensor:
        start = step * batch % max(rows - batch + 1, 1)
        part = inputs[:, start : start + batch]
        found = torch.baddbmm(bias[:, None, :], part, weight.transpose(1, 2))
        value, slope = map(torch.from_numpy, activation.value_and_slope(found.numpy()))
        error = value.sub_(targets[:, start : start + batch]).mul_(slope)
        return torch.bmm(error.transpose(1, 2), part).mul_(factor)

    return gradient

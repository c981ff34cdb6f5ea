"""GPTQ against optimal brain quantization written out, and against every choice there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from autocompress.passes.reconstruct.gptq import gptq
from autocompress.passes.reconstruct.grid import WeightGrid
from autocompress.passes.reconstruct.moments import MomentObjective

DAMPING = 0.01


def problem(
    outputs: int, size: int, *, bits: int = 4, block: int | None = None, seed: int = 0, shift: float = 0.0
) -> tuple[WeightGrid, MomentObjective]:
    """Correlated rows; ``shift`` makes what is fed differ from what the float layer saw."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((1, outputs, size)).astype(np.float32)
    top = 2 ** (bits - 1) - 1
    largest = np.abs(weight).max(axis=2, keepdims=True)
    if block:
        largest = np.repeat(np.abs(weight).reshape(1, outputs, -1, block).max(axis=3), block, axis=2)
    scales = np.broadcast_to(largest / top, weight.shape).astype(np.float32)
    nearest = np.clip(np.rint(weight / scales), -top, top)
    grid = WeightGrid(weight, scales, np.zeros_like(weight), nearest, -top, top)
    rows = (rng.standard_normal((1, 400, size)) @ (rng.standard_normal((size, size)) + 1.0)).astype(np.float32)
    fed = rows + shift * rng.standard_normal(rows.shape).astype(np.float32)
    objective = MomentObjective(weight, np.zeros((1, outputs), np.float32), free_bias=False)
    objective.update(fed, rows @ weight.transpose(0, 2, 1))
    return grid, objective


def brain_quantization(grid: WeightGrid, objective: MomentObjective, order: np.ndarray) -> np.ndarray:
    """One column after the other, with the inverse Hessian of the columns that are left computed each time."""
    hessian, cross = (moments[0] for moments in objective.estimated())
    damped = hessian + np.eye(len(hessian)) * DAMPING * np.diag(hessian).mean()
    left = grid.weight[0] + cross @ np.linalg.inv(damped)
    integers = np.zeros_like(grid.weight[0])
    for i, column in enumerate(order):
        open_columns = order[i:]
        inverse = np.linalg.inv(damped[np.ix_(open_columns, open_columns)])
        scale = grid.scales[0, :, column]
        integers[:, column] = np.clip(np.rint(left[:, column] / scale), grid.low, grid.high)
        error = (left[:, column] - integers[:, column] * scale) / inverse[0, 0]
        left[:, open_columns] -= np.outer(error, inverse[0])
    return integers


@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize(("bits", "block", "shift"), [(4, None, 0.0), (8, None, 0.5), (4, 32, 0.3), (8, 64, 0.0)])
def test_the_same_as_brain_quantization(bits: int, block: int | None, shift: float, act_order: bool) -> None:
    grid, objective = problem(5, 192, bits=bits, block=block, shift=shift)
    order = np.argsort(-np.diag(objective.hessian[0]), kind="stable") if act_order else np.arange(192)
    found = gptq(grid, objective, damping=DAMPING, act_order=act_order)
    np.testing.assert_array_equal(found[0], brain_quantization(grid, objective, order))


def test_close_to_the_best_of_all_choices() -> None:
    """Over many small matrices, most of the error that nearest rounding has too much is gone."""
    too_much = found_too_much = 0.0
    for seed in range(12):
        grid, objective = problem(1, 4, bits=3, seed=seed)
        zero = np.zeros((1, 1), np.float32)
        choices = [np.array(c, np.float32).reshape(1, 1, 4) for c in product(range(-3, 4), repeat=4)]
        best = min(objective.error(grid.real(choice), zero) for choice in choices)
        nearest = objective.error(grid.real(grid.nearest), zero)
        found = objective.error(grid.real(gptq(grid, objective, damping=DAMPING, act_order=True)), zero)
        assert found >= best * (1 - 1e-9)
        too_much += nearest - best
        found_too_much += found - best
    assert found_too_much < 0.4 * too_much


@pytest.mark.parametrize("free_bias", [True, False])
def test_the_objective_is_the_error_of_the_rows(free_bias: bool) -> None:
    rng = np.random.default_rng(1)
    weight, bias = rng.standard_normal((2, 3, 5)).astype(np.float32), rng.standard_normal((2, 3)).astype(np.float32)
    inputs = (rng.standard_normal((2, 50, 5)) + 1.0).astype(np.float32)
    targets = rng.standard_normal((2, 50, 3)).astype(np.float32)
    objective = MomentObjective(weight, bias, free_bias=free_bias)
    for start in range(0, 50, 20):
        objective.update(inputs[:, start : start + 20], targets[:, start : start + 20])
    other, shifted = weight + 0.3, bias - 0.2

    def error(weight: np.ndarray, bias: np.ndarray) -> float:
        found = inputs @ weight.transpose(0, 2, 1) + bias[:, None, :]
        return float(((found - targets) ** 2).sum() / (targets**2).sum())

    assert objective.error(other, shifted) == pytest.approx(error(other, shifted), rel=1e-4)
    fitted = objective.fitted_bias(other)
    mean = (targets - inputs @ other.transpose(0, 2, 1)).mean(axis=1)
    np.testing.assert_allclose(fitted, mean, rtol=1e-4, atol=1e-4)
    step = 1e-2 * rng.standard_normal(weight.shape).astype(np.float32)
    bias_of = objective.fitted_bias if free_bias else lambda _: bias
    change = error(other + step, bias_of(other + step)) - error(other - step, bias_of(other - step))
    gradient = (other - weight) @ objective.hessian - objective.cross
    assert change == pytest.approx(4 * float((gradient * step).sum()) / objective.power, rel=1e-2)


def test_few_rows_are_trusted_less() -> None:
    """A weight fitted to fewer rows than it has columns does well on others only if moments are shrunk."""
    rng = np.random.default_rng(2)
    spread = rng.standard_normal((64, 64)) * np.geomspace(1.0, 0.1, 64)
    weight = rng.standard_normal((1, 20, 64)).astype(np.float32)
    rows = (rng.standard_normal((1, 2040, 64)) @ spread).astype(np.float32)
    fed = rows + 0.3 * rng.standard_normal(rows.shape).astype(np.float32)
    targets = rows @ weight.transpose(0, 2, 1)
    few, others = (MomentObjective(weight, np.zeros((1, 20), np.float32), free_bias=False) for _ in range(2))
    few.update(fed[:, :40], targets[:, :40])
    others.update(fed[:, 40:], targets[:, 40:])
    scales = np.broadcast_to(np.abs(weight).max(axis=2, keepdims=True) / 7, weight.shape).astype(np.float32)
    grid = WeightGrid(weight, scales, np.zeros_like(weight), np.rint(weight / scales), -7, 7)
    zero = np.zeros((1, 20), np.float32)

    def error(objective: MomentObjective) -> float:
        return others.error(grid.real(gptq(grid, objective, damping=DAMPING, act_order=True)), zero)

    assert error(few) < 0.8 * error(_Sampled(few))
    assert error(few) < others.error(grid.real(grid.nearest), zero)


class _Sampled(MomentObjective):
    """Takes the moments of a sample as they are."""

    def __init__(self, objective: MomentObjective) -> None:
        self.__dict__.update(objective.__dict__)

    def estimated(self) -> tuple[np.ndarray, np.ndarray]:
        return self.hessian, self.cross


@pytest.mark.parametrize("free_bias", [True, False])
def test_estimates_are_nearer_to_the_truth_than_samples(free_bias: bool) -> None:
    rng = np.random.default_rng(3)
    mixing, noise = rng.standard_normal((12, 12)), 0.5
    truth = mixing.T @ mixing + noise**2 * np.eye(12)
    weight = rng.standard_normal((1, 4, 12)).astype(np.float32)
    cross = -(noise**2) * weight[0]  # the layer sees noise that its target has not seen
    sampled_error, estimated_error = np.zeros(2), np.zeros(2)
    for _ in range(20):
        objective = MomentObjective(weight, np.zeros((1, 4), np.float32), free_bias=free_bias)
        clean = (rng.standard_normal((1, 15, 12)) @ mixing).astype(np.float32)
        fed = clean + noise * rng.standard_normal(clean.shape).astype(np.float32)
        objective.update(fed, clean @ weight.transpose(0, 2, 1))
        sampled_error += [np.sum((objective.hessian - truth) ** 2), np.sum((objective.cross - cross) ** 2)]
        estimated_error += [np.sum((m - t) ** 2) for m, t in zip(objective.estimated(), (truth, cross), strict=True)]
    assert (estimated_error < 0.9 * sampled_error).all()


def test_many_rows_are_trusted() -> None:
    _, objective = problem(3, 8)
    estimated, sampled = objective.estimated()[0], objective.hessian
    np.testing.assert_allclose(estimated, sampled, atol=0.02 * np.abs(sampled).max())
    assert not np.array_equal(estimated, sampled)


def test_inputs_that_are_all_zero_keep_the_nearest_integers() -> None:
    grid, _ = problem(3, 8)
    objective = MomentObjective(grid.weight, np.zeros((1, 3), np.float32), free_bias=False)
    objective.update(np.zeros((1, 9, 8), np.float32), np.zeros((1, 9, 3), np.float32))
    np.testing.assert_array_equal(gptq(grid, objective, damping=DAMPING, act_order=True), grid.nearest)

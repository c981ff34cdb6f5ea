"""Descent by orthogonalized momentum for matrices and kernels, by Adam for everything else."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch

from autocompress.passes.recover.orthogonal import orthogonalized

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_LEAST_ROWS = 8
_MOST_PRODUCTS = 2**28  # of an orthogonalization's matrix product; more takes longer than the gradient itself
_MOST_TOGETHER = 2**18  # elements that are gone over at once
_TYPICAL = 0.5  # root mean square of Adam's moves, relative to its rate: both kinds of moves are equally long


class Descent:
    """Moves parameters against their gradients, each element in proportion to a scale of its own.

    With m and v the moving averages of gradients and their squares, a vector moves by rate * scale * m / sqrt(v) (Adam,
    Kingma and Ba, arXiv 1412.6980).  A matrix moves by rate * scale * the orthogonal part of m (Muon, Jordan et al.
    2024; of Adam's length as in Liu et al., arXiv 2502.16982): all directions advance alike, also those of small
    gradients, which first-order steps leave to the end.  There is rarely time for an end here.

    Small tensors that follow each other are one vector: compressed models have many of them, and a dozen operations on
    each would take longer than the gradients of a small network.  Large ones go alone, because what a step computes in
    between takes several times the memory of what it goes over at once.

    Attributes:
        first: moving average of the gradients, of all elements in a row (m).
        second: the same of their squares (v).
        steps: taken since these began.

    Args:
        parameters: trained together.
        scales: of each parameter, broadcast to it: how far its elements move at a rate of 1.
        weight_decay: decoupled (arXiv 1711.05101): every step also takes off rate * decay of a parameter.
    """

    def __init__(self, parameters: Sequence[Any], scales: Sequence[torch.Tensor], weight_decay: float = 0.0) -> None:
        self._parameters = list(parameters)
        self._runs = _runs([parameter.numel() for parameter in parameters])
        self._scales = [_joined_scales(self._parameters[run], scales[run]) for run in self._runs]
        self._is_matrix = [_is_matrix(parameter) for parameter in parameters]
        self._weight_decay = weight_decay
        self.reset()

    def reset(self) -> None:
        """Forgets all gradients so far."""
        count = sum(parameter.numel() for parameter in self._parameters)
        kind = functools.reduce(torch.promote_types, (parameter.dtype for parameter in self._parameters), torch.float32)
        self.first, self.second = torch.zeros(count, dtype=kind), torch.zeros(count, dtype=kind)
        self.steps = 0

    def zero_grad(self) -> None:
        """Frees the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, rate: float) -> None:
        """Moves every parameter against its gradient; one without a gradient counts as having a gradient of zero.

        Args:
            rate: factor of all scales.
        """
        self.steps += 1
        start = 0
        for run, scale in zip(self._runs, self._scales, strict=True):
            end = start + sum(parameter.numel() for parameter in self._parameters[run])
            self._step_run(run, scale, slice(start, end), rate)
            start = end

    def _step_run(self, run: slice, scale: torch.Tensor, elements: slice, rate: float) -> None:
        """Moves parameters that lie together."""
        parameters = self._parameters[run]
        gradient = _flat([self._flat_gradient(parameter) for parameter in parameters])
        first, second = self.first[elements], self.second[elements]
        gradient = gradient.to(first.dtype)
        first.lerp_(gradient, 1.0 - _BETAS[0])
        second.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1.0 - _BETAS[1])
        # Nesterov's look ahead; the length of what is orthogonalized does not matter.
        sizes = [parameter.numel() for parameter in parameters]
        are_matrices = self._is_matrix[run]
        ahead = first.lerp(gradient, 1.0 - _BETAS[0]).split(sizes) if any(are_matrices) else ()
        corrections = [1.0 - beta**self.steps for beta in _BETAS]
        spread = (second / corrections[1]).sqrt_().add_(_EPSILON)
        moves = torch.div(first, spread, out=spread).div_(corrections[0]).split(sizes)
        scales = scale.split(sizes) if len(parameters) > 1 else (scale,)
        for position, parameter in enumerate(parameters):
            if self._weight_decay:
                parameter.mul_(1.0 - rate * self._weight_decay)
            move = _matrix_move(ahead[position], parameter) if are_matrices[position] else moves[position]
            own = scales[position].view_as(parameter) if len(parameters) > 1 else scale
            parameter.sub_((move.view_as(parameter) * own).mul_(rate))

    def gradient_norm(self) -> float:
        """Euclidean norm of all gradients together; not finite where one of them is not."""
        norms = [torch.linalg.vector_norm(p.grad) for p in self._parameters if p.grad is not None]
        return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0

    def clip(self, limit: float) -> float:
        """Shrinks all gradients together to a norm of at most ``limit`` and returns the norm before."""
        norm = self.gradient_norm()
        if math.isfinite(norm) and norm > limit:
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(limit / norm)
        return norm

    @staticmethod
    def _flat_gradient(parameter: Any) -> torch.Tensor:
        gradient = parameter.grad
        return torch.zeros(parameter.numel(), dtype=parameter.dtype) if gradient is None else gradient.reshape(-1)


def _runs(sizes: Sequence[int]) -> list[slice]:
    """Neighbours of at most so many elements together, or a single one."""
    runs: list[slice] = []
    together = 0
    for position, size in enumerate(sizes):
        if runs and together + size <= _MOST_TOGETHER:
            runs[-1] = slice(runs[-1].start, position + 1)
            together += size
        else:
            runs.append(slice(position, position + 1))
            together = size
    return runs


def _joined_scales(parameters: Sequence[Any], scales: Sequence[torch.Tensor]) -> torch.Tensor:
    """Of every element where there are several parameters; else the scale as it is, which is broadcast."""
    if len(parameters) == 1:
        return scales[0]
    return _flat([s.expand_as(p).reshape(-1) for p, s in zip(parameters, scales, strict=True)])


def _flat(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _is_matrix(parameter: torch.Tensor) -> bool:
    """Whether a parameter's first axis against all others is a matrix worth orthogonalizing (no depthwise kernel)."""
    if parameter.dim() < 2 or parameter.shape[1] == 1:
        return False
    least, most = sorted((parameter.shape[0], parameter.numel() // parameter.shape[0]))
    return bool(least >= _LEAST_ROWS and least * least * most <= _MOST_PRODUCTS)


def _matrix_move(momentum: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """The orthogonal part, of a root mean square that is typical of Adam."""
    matrix = momentum.view(parameter.shape[0], -1)
    return (orthogonalized(matrix) * (_TYPICAL * max(matrix.shape) ** 0.5)).reshape(-1)

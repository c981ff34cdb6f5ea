"""Penalties that drive weights to zero, whole output channels or one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def group_lasso(weights: Sequence[Any]) -> torch.Tensor:
    """Sum over output channels of sqrt(size) times their norm (Yuan and Lin 2006; Wen et al., arXiv 1608.03665)."""
    total = torch.zeros(())
    for weight in weights:
        if weight.dim() >= 2:
            rows = weight.reshape(weight.shape[0], -1)
            total = total + rows.shape[1] ** 0.5 * (rows.square().sum(1) + 1e-12).sqrt().sum()
    return total


def l1(weights: Sequence[Any]) -> torch.Tensor:
    """Sum of absolute weights of matrices and kernels."""
    return sum((weight.abs().sum() for weight in weights if weight.dim() >= 2), torch.zeros(()))

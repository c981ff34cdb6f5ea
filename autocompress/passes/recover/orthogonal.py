"""The orthogonal part of a matrix, roughly, by matrix products alone."""

from __future__ import annotations

import torch

_ITERATIONS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalized(matrix: torch.Tensor) -> torch.Tensor:
    """U V' of the singular value decomposition U S V', with singular values between 0.7 and 1.2 in place of ones.

    Newton-Schulz iteration with the coefficients of Jordan et al. (Muon, 2024), which bring small singular values up
    fast; that they end around one and not at it does no harm to a direction of descent.

    Args:
        matrix: of two axes.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.t() if is_tall else matrix
    x = x / torch.linalg.matrix_norm(x).clamp_min(torch.finfo(x.dtype).tiny ** 0.5)
    for _ in range(_ITERATIONS):
        square = x @ x.t()
        x = _A * x + (_B * square + _C * square @ square) @ x
    return x.t() if is_tall else x

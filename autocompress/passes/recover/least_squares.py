"""Normal equations that are gathered batch by batch, and their solution with ridge.

For inputs X (rows, d) and what is missing at the outputs R (rows, o) the change of the weights is

    D = argmin |R - X D|^2 + ridge |D|^2 = (X'X + ridge I)^-1 X'R,

for every group at once.  A column of ones in X makes the last row of D the change of the bias.
"""

from __future__ import annotations

import torch

from autocompress.graph.torch_execution.call import Tensor


class NormalEquations:
    """X'X and X'R of any number of rows, in double precision.

    Attributes:
        gram: X'X of shape (groups, d, d).
        cross: X'R of shape (groups, d, o).
        rows: seen so far.
    """

    def __init__(self) -> None:
        self.gram: Tensor = torch.zeros(())
        self.cross: Tensor = torch.zeros(())
        self.rows = 0

    def add(self, inputs: Tensor, missing: Tensor) -> None:
        """Takes in rows.

        Args:
            inputs: of shape (groups, rows, d).
            missing: of shape (groups, rows, o).
        """
        transposed = inputs.transpose(1, 2)
        self.gram = self.gram + (transposed @ inputs).double()
        self.cross = self.cross + (transposed @ missing).double()
        self.rows += inputs.shape[1]

    def solve(self, ridge: float) -> Tensor:
        """The change of the weights, of shape (groups, d, o).

        Args:
            ridge: relative to the mean diagonal of X'X.
        """
        size = self.gram.shape[-1]
        diagonal = self.gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)
        damped = self.gram + (ridge * diagonal)[:, None, None] * torch.eye(size, dtype=torch.float64)
        return torch.linalg.solve(damped, self.cross)

    def gain(self, change: Tensor) -> float:
        """By how much the squared error of these rows falls with a change of the weights (negative: rises)."""
        return float((2.0 * change * self.cross).sum() - (change * (self.gram @ change)).sum())

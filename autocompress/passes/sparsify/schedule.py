"""Sparsity that rises over steps of training or of iterative pruning."""

from __future__ import annotations

from dataclasses import dataclass

from autocompress.errors import RecipeError


@dataclass(frozen=True)
class CubicSchedule:
    """Fast at first, slow near the end: s_f + (s_i - s_f) (1 - t / n)^3 (Zhu and Gupta 2017, arXiv 1710.01878).

    Attributes:
        final: sparsity from step ``steps`` on.
        steps: n, how many steps the rise takes.
        initial: sparsity at step 0.

    Raises:
        RecipeError: a share is not within 0 to 1, or it would fall.
    """

    final: float
    steps: int
    initial: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.initial <= self.final < 1 or self.steps < 1:
            raise RecipeError(
                f"a sparsity schedule from {self.initial} to {self.final} in {self.steps} steps makes no sense; give "
                "shares that rise, below 1, and at least one step"
            )

    def sparsity_at(self, step: int) -> float:
        """The share of zeros at a step; that of the nearest end outside 0..``steps``."""
        left = 1.0 - min(max(step, 0), self.steps) / self.steps
        return self.final + (self.initial - self.final) * left**3

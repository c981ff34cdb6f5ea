"""Copies of weights in memory: the best so far, the last good ones, their moving average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class MovingAverage:
    """Exponential moving average of parameters (Polyak averaging), with a short memory at the start.

    Args:
        parameters: watched.
        decay: share of the old average that stays in a step; 0 gives the parameters themselves.
    """

    def __init__(self, parameters: Sequence[Any], decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self.count = 0
        self.values = copied(parameters)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def update(self) -> None:
        """Takes in the present parameters."""
        self.count += 1
        decay = min(self._decay, self.count / (self.count + 9.0))
        for value, parameter in zip(self.values, self._parameters, strict=True):
            value.lerp_(parameter, 1.0 - decay)


def copied(parameters: Sequence[Any]) -> list[torch.Tensor]:
    """Present values of parameters."""
    return [parameter.detach().clone() for parameter in parameters]


@torch.no_grad()  # type: ignore[untyped-decorator]
def restore(parameters: Sequence[Any], values: Sequence[torch.Tensor]) -> None:
    """Sets parameters to given values."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)

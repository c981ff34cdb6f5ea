"""What a reconstruction step does, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from autocompress.errors import RecipeError
from autocompress.passes.config_rows import refuse_unknown

ADAROUND = "adaround"
GPTQ = "gptq"
BLOCK = "block"
METHODS = (ADAROUND, GPTQ, BLOCK)


@dataclass(frozen=True)
class ReconstructConfig:
    """Configuration of weight rounding by reconstruction.

    Attributes:
        method: "adaround" (each layer by gradient descent), "gptq" (each layer column by column) or "block" (layers
            of a block together, by gradient descent through the block).
        samples: calibration samples to use at most.
        iterations: steps of gradient descent per layer or block.
        learning_rate: of the rounding variables (Adam).
        batch_rows: rows of a layer's input, or samples of a block's times 64, in one step of gradient descent.
        max_rows: rows of a layer's input kept for gradient descent; of convolutions, positions are drawn at random.
        regularization: weight of the term that drives rounding variables to 0 or 1, relative to the error.
        drop_probability: share of values that a block reads in floating point in each step (QDrop); 0 for BRECQ.
        damping: added to the Hessian's diagonal, relative to its mean (GPTQ).
        act_order: whether GPTQ rounds columns with large inputs first.
        bias: whether the mean error that is left is taken off the bias where the layer has one.
        seed: of everything drawn at random.

    Raises:
        RecipeError: when a field has a value that it cannot have.
    """

    method: str = ADAROUND
    samples: int = 256
    iterations: int = 1000
    learning_rate: float = 0.05
    batch_rows: int = 512
    max_rows: int = 16384
    regularization: float = 10.0
    drop_probability: float = 0.5
    damping: float = 0.01
    act_order: bool = True
    bias: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            # A whole number is a number too, but True is neither.
            fits = type(value) is kind or (kind is float and type(value) is int)
            if not fits or (kind is float and not math.isfinite(value)):
                raise RecipeError(f"reconstruct step: {field.name} is {value!r}; it must be a {_KINDS[kind]}")
            if kind is float:
                object.__setattr__(self, field.name, float(value))
        if self.method not in METHODS:
            raise RecipeError(f"reconstruct step: method is {self.method!r}; it must be one of {', '.join(METHODS)}")
        for name in ("samples", "iterations", "batch_rows", "max_rows"):
            if getattr(self, name) < 1:
                raise RecipeError(f"reconstruct step: {name} is {getattr(self, name)}; it must be at least 1")
        for name in ("learning_rate", "regularization", "damping"):
            if getattr(self, name) <= 0.0:
                raise RecipeError(f"reconstruct step: {name} is {getattr(self, name)}; it must be above 0")
        if not 0.0 <= self.drop_probability <= 1.0:
            raise RecipeError(
                f"reconstruct step: drop_probability is {self.drop_probability}; it must be between 0 and 1"
            )
        if self.seed < 0:
            raise RecipeError(f"reconstruct step: seed is {self.seed}; it must not be negative")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> ReconstructConfig:
        """Inverse of ``to_dict``.

        Raises:
            RecipeError: on an unknown field or value.
        """
        refuse_unknown(cls, row, "reconstruct")
        return cls(**row)


_KINDS: dict[type, str] = {str: "text", int: "whole number", float: "number", bool: "truth value"}

"""What a reconstruction step does, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from autocompress.errors import RecipeError
from autocompress.passes.config_rows import refuse_unknown
from autocompress.passes.recover.config import RecoverConfig

ADAROUND = "adaround"
GPTQ = "gptq"
BLOCK = "block"
BIAS = "bias"
DISTILL = "distill"
METHODS = (BIAS, ADAROUND, GPTQ, BLOCK, DISTILL)

_GENTLE = 0.1  # of the learning rate of other trainings: the weights are close to where they end


@dataclass(frozen=True)
class ReconstructConfig:
    """Configuration of weight rounding by reconstruction.

    Attributes:
        method: "bias" (only the bias of each layer changes: empirical bias correction), "adaround" (each layer by
            gradient descent), "gptq" (each layer column by column), "block" (layers of a block together, by gradient
            descent through the block) or "distill" (weights and step sizes of the whole model are trained, with the
            original as the teacher; of the settings below only ``training`` counts).
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
        training: of "distill", as of a recover step; "light" unless given.

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
    training: RecoverConfig | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name == "training":
                continue
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
        object.__setattr__(self, "training", _training(self.method, self.training, self.seed))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; settings of the training belong to "distill" alone."""
        row = {field.name: getattr(self, field.name) for field in fields(self)}
        training = row.pop("training")
        return row if training is None else {**row, "training": training.to_dict()}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> ReconstructConfig:
        """Inverse of ``to_dict``.

        Raises:
            RecipeError: on an unknown field or value.
        """
        refuse_unknown(cls, row, "reconstruct")
        training = row.get("training")
        if training is None:
            return cls(**row)
        if not isinstance(training, Mapping):
            raise RecipeError(f"reconstruct step: training is {training!r}; it must hold the settings of a training")
        return cls(**{**row, "training": RecoverConfig.from_dict(training)})


_KINDS: dict[type, str] = {str: "text", int: "whole number", float: "number", bool: "truth value"}


def gentle_training(**settings: Any) -> RecoverConfig:
    """Settings of a training that begins close to its end: with a smaller learning rate, where none is given.

    Raises:
        RecipeError: on an unknown field or value.
    """
    return RecoverConfig.from_dict({"learning_rate": _GENTLE * RecoverConfig().learning_rate, **settings})


def _training(method: str, given: RecoverConfig | None, seed: int) -> RecoverConfig | None:
    """Settings of the training, without those that quantized students have no use for."""
    if method != DISTILL:
        if given is not None:
            raise RecipeError(f"reconstruct step: method {method!r} does not train the model; leave training out")
        return None
    training = given or gentle_training(seed=seed)
    if not training.trains or training.distillation != "end_to_end":
        raise RecipeError(
            f"reconstruct step: training has the level {training.level} and is {training.distillation}; it must be "
            "light or full, and end_to_end"
        )
    # The closed form knows float layers only, and bfloat16 is coarser than the steps that are learnt.
    return replace(training, closed_form=False, bfloat16=False)

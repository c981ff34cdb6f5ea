"""What a recovery found, and how it is put into a model again, without torch and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnx import ModelProto

from autocompress.errors import ModelError, RecipeError
from autocompress.graph.torch_execution.weights import Array, with_weights
from autocompress.passes.recover.config import RecoverConfig


@dataclass(frozen=True)
class RecoverPayload:
    """New values for the weights that recovery changed.

    Attributes:
        weights: weight name -> values, in the type of the model (whole numbers for quantized weights).
        history: what happened, in numbers: losses on held-out samples before and after, steps, seconds.
    """

    weights: Mapping[str, Array]
    history: Mapping[str, Any] = field(default_factory=dict)


def recover(model: ModelProto, config: RecoverConfig, payload: RecoverPayload) -> ModelProto:
    """A copy of the compressed model with the recovered weights; the same input gives the same bytes.

    Args:
        model: the compressed model that the payload was resolved for; not changed.
        config: of the step; level "none" changes nothing.
        payload: see ``resolve``.

    Raises:
        RecipeError: the payload does not fit the model.
    """
    try:
        return with_weights(model, payload.weights if config.level != "none" else {})
    except ModelError as error:
        raise RecipeError(f"recover step: {error}") from error

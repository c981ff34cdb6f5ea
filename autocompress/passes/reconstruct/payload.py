"""What reconstruction found: with it, the same bytes can be made again without data and without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from autocompress.errors import ModelError, RecipeError
from autocompress.graph.torch_execution.weights import with_weights
from autocompress.passes.quantize import QuantizePayload

_INTEGERS = "integers:"
_BIASES = "bias:"
_TRAINED = "trained:"


@dataclass(frozen=True)
class LayerError:
    """How far the output of a layer is from that of the float model, on calibration data.

    Attributes:
        nearest: relative mean square error when every weight is rounded to the nearest integer.
        reconstructed: the same after reconstruction, never above ``nearest``.
    """

    nearest: float
    reconstructed: float


@dataclass(frozen=True, eq=False)
class ReconstructPayload:
    """Rounded weights, or trained ones.

    Attributes:
        integers: weight name -> integers of the weight's shape, 4-bit ones held one per byte; scales and zero points
            stay those of the quantization step.
        biases: unit name -> bias that replaces that of the quantization step, float32 of shape (output channels,).
        errors: unit name -> what was gained; told to people, not needed to apply.
        trained: initializer of the emitted model -> values that take the place of its own, from distillation.
    """

    integers: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    biases: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    errors: dict[str, LayerError] = field(default_factory=dict)
    trained: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def applied_to(self, payload: QuantizePayload) -> QuantizePayload:
        """The payload of the quantization step with these integers and biases in it, ready to be emitted."""
        return replace(
            payload,
            integers={**payload.integers, **self.integers},
            biases={**payload.biases, **self.biases},
        )

    def finished(self, emitted: ModelProto) -> ModelProto:
        """The emitted model with the trained values in it; the same input gives the same bytes.

        Raises:
            RecipeError: when the model has no such initializers.
        """
        if not self.trained:
            return emitted
        try:
            return with_weights(emitted, self.trained)
        except ModelError as error:
            raise RecipeError(f"reconstruct step: {error}") from error

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Plain arrays for an ``npz`` file, in a fixed order; what was gained is left out."""
        return {
            **{f"{_INTEGERS}{name}": values for name, values in sorted(self.integers.items())},
            **{f"{_BIASES}{name}": values for name, values in sorted(self.biases.items())},
            **{f"{_TRAINED}{name}": values for name, values in sorted(self.trained.items())},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ReconstructPayload:
        """Inverse of ``to_arrays``.

        Raises:
            RecipeError: when an array is none of a reconstruction step.
        """
        integers: dict[str, npt.NDArray[np.generic]] = {}
        biases: dict[str, npt.NDArray[np.float32]] = {}
        trained: dict[str, npt.NDArray[Any]] = {}
        for key, values in arrays.items():
            if key.startswith(_INTEGERS) and values.dtype.kind in "iu":
                integers[key.removeprefix(_INTEGERS)] = values
            elif key.startswith(_BIASES) and values.dtype == np.float32 and values.ndim == 1:
                biases[key.removeprefix(_BIASES)] = values
            elif key.startswith(_TRAINED) and values.dtype.kind in "iuf":
                trained[key.removeprefix(_TRAINED)] = values
            else:
                raise RecipeError(
                    f"the recipe's reconstruct step has an array {key!r} that is no rounded weight or bias; "
                    "give the recipe as it was written"
                )
        return cls(integers, biases, trained=trained)

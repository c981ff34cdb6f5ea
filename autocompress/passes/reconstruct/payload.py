"""What reconstruction found: with it, the same bytes can be made again without data and without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.errors import RecipeError
from autocompress.passes.quantize import QuantizePayload

_INTEGERS = "integers:"
_BIASES = "bias:"


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
    """Rounded weights.

    Attributes:
        integers: weight name -> integers of the weight's shape, 4-bit ones held one per byte; scales and zero points
            stay those of the quantization step.
        biases: unit name -> bias that replaces that of the quantization step, float32 of shape (output channels,).
        errors: unit name -> what was gained; told to people, not needed to apply.
    """

    integers: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    biases: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    errors: dict[str, LayerError] = field(default_factory=dict)

    def applied_to(self, payload: QuantizePayload) -> QuantizePayload:
        """The payload of the quantization step with these integers and biases in it, ready to be emitted."""
        return replace(
            payload,
            integers={**payload.integers, **self.integers},
            biases={**payload.biases, **self.biases},
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Plain arrays for an ``npz`` file, in a fixed order; what was gained is left out."""
        return {
            **{f"{_INTEGERS}{name}": values for name, values in sorted(self.integers.items())},
            **{f"{_BIASES}{name}": values for name, values in sorted(self.biases.items())},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ReconstructPayload:
        """Inverse of ``to_arrays``.

        Raises:
            RecipeError: when an array is none of a reconstruction step.
        """
        integers: dict[str, npt.NDArray[np.generic]] = {}
        biases: dict[str, npt.NDArray[np.float32]] = {}
        for key, values in arrays.items():
            if key.startswith(_INTEGERS) and values.dtype.kind in "iu":
                integers[key.removeprefix(_INTEGERS)] = values
            elif key.startswith(_BIASES) and values.dtype == np.float32 and values.ndim == 1:
                biases[key.removeprefix(_BIASES)] = values
            else:
                raise RecipeError(
                    f"the recipe's reconstruct step has an array {key!r} that is no rounded weight or bias; "
                    "give the recipe as it was written"
                )
        return cls(integers, biases)

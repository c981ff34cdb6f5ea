"""What a decomposition took from weights and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from autocompress.errors import RecipeError

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class DecomposePayload:
    """Everything that ``decompose`` needs besides the configuration.

    Attributes:
        factors: node name -> kernels of its parts, first to last, each of shape (outputs, inputs, *kernel), in the
            type of the weight that they replace.
        left_alone: node name -> why a layer of the configuration stays as it is.
    """

    factors: dict[str, tuple[FloatArray, ...]] = field(default_factory=dict)
    left_alone: dict[str, str] = field(default_factory=dict)

    def to_arrays(self) -> dict[str, FloatArray]:
        """The factors as one flat mapping, for an .npz file: "<node name>:<part>" -> kernel."""
        return {f"{name}:{i}": array for name, parts in self.factors.items() for i, array in enumerate(parts)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray]) -> DecomposePayload:
        """Inverse of ``to_arrays``.

        Raises:
            RecipeError: a name or the parts of a layer are malformed.
        """
        parts: dict[str, dict[int, FloatArray]] = {}
        for key, array in arrays.items():
            name, _, number = key.rpartition(":")
            if not name or not number.isdecimal():
                raise RecipeError(
                    f"decompose step: the array {key!r} belongs to no layer; give the file as it was written"
                )
            parts.setdefault(name, {})[int(number)] = array
        for name, found in parts.items():
            if sorted(found) != list(range(len(found))) or len(found) < 2:
                raise RecipeError(
                    f"decompose step: parts of layer {name!r} are missing; give the file as it was written"
                )
        return cls({name: tuple(found[i] for i in range(len(found))) for name, found in parts.items()})

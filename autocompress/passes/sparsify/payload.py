"""What a sparsity step took from weights and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.errors import RecipeError

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class SparsifyPayload:
    """Everything that ``sparsify`` needs besides the configuration.

    Attributes:
        masks: node name -> which of its weights stay, bool, in the shape in which the weight is stored.
        weights: node name -> new values of its weight, where those that stay were changed.
        left_alone: node name -> why a layer of the configuration stays as it is.
    """

    masks: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    weights: dict[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    left_alone: dict[str, str] = field(default_factory=dict)

    def to_arrays(self) -> dict[str, Array]:
        """Masks and weights as one flat mapping, for an .npz file: "mask:<name>", "weight:<name>"."""
        masks: dict[str, Array] = {f"mask:{name}": mask for name, mask in self.masks.items()}
        return {**masks, **{f"weight:{name}": weight for name, weight in self.weights.items()}}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> SparsifyPayload:
        """Inverse of ``to_arrays``.

        Raises:
            RecipeError: a name is malformed.
        """
        parts: dict[str, dict[str, Array]] = {"mask": {}, "weight": {}}
        for key, array in arrays.items():
            role, _, name = key.partition(":")
            if role not in parts or not name:
                raise RecipeError(
                    f"sparsify step: the array {key!r} belongs to no layer; give the file as it was written"
                )
            parts[role][name] = array
        return cls({name: mask.astype(np.bool_) for name, mask in parts["mask"].items()}, parts["weight"])

"""Which units a pruning step keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from autocompress.errors import RecipeError

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PrunePayload:
    """Everything that ``prune`` needs besides the configuration.

    Attributes:
        kept: group name -> numbers of the units that stay, rising; groups that lose nothing are left out.
    """

    kept: dict[str, IntArray] = field(default_factory=dict)

    def to_arrays(self) -> dict[str, IntArray]:
        """The numbers as a flat mapping, for an .npz file: group name -> kept units."""
        return dict(self.kept)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> PrunePayload:
        """Inverse of ``to_arrays``.

        Raises:
            RecipeError: an array holds no rising numbers of units.
        """
        for name, array in arrays.items():
            whole = array.ndim == 1 and array.dtype.kind in "iu"
            if not whole or bool((np.diff(array.astype(np.int64), prepend=-1) <= 0).any()):
                raise RecipeError(f"prune step: the kept units of {name!r} are malformed; give the file as written")
        return cls({name: array.astype(np.int64) for name, array in arrays.items()})

"""Operators as forests and rooflines take them: everything that follows from signatures, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autocompress.graph.signature import OpSignature
from autocompress.latency.families import dispatch_class, kernel_path
from autocompress.latency.features import features_of
from autocompress.latency.roofline import Roofline
from autocompress.latency.work_terms import work_terms

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OperatorRows:
    """Operators of one family.

    Attributes:
        keys: signature keys.
        features: of shape (operators, ``len(FEATURES)``).
        counts: work terms, of shape (operators, ``WORK_TERMS``).
        bound_us: roofline bounds, of shape (operators,).
        paths: levels from the general to the special (``kernel_path``).
        classes: dispatch classes.
    """

    keys: tuple[str, ...]
    features: npt.NDArray[np.float32]
    counts: FloatArray
    bound_us: FloatArray
    paths: tuple[tuple[str, ...], ...]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, signatures: Sequence[OpSignature], roofline: Roofline) -> OperatorRows:
        """Describes operators on a device of the given constants."""
        return cls(
            keys=tuple(s.key for s in signatures),
            features=features_of(signatures),
            counts=work_terms(signatures),
            bound_us=np.asarray([roofline.bound_us(s) for s in signatures], np.float64),
            paths=tuple(kernel_path(s) for s in signatures),
            classes=tuple(dispatch_class(s) for s in signatures),
        )

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: npt.NDArray[np.intp]) -> OperatorRows:
        """Some of them."""
        return OperatorRows(
            keys=tuple(self.keys[i] for i in rows),
            features=self.features[rows],
            counts=self.counts[rows],
            bound_us=self.bound_us[rows],
            paths=tuple(self.paths[i] for i in rows),
            classes=tuple(self.classes[i] for i in rows),
        )

"""The calibration samples as steps see them: statistics of any model, and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from autocompress.calibration.collect import InputSource, collect
from autocompress.calibration.outputs import ActivationSessions, LoadedModel
from autocompress.calibration.statistics import Statistics


@dataclass(frozen=True)
class CalibrationSamples:
    """Which samples calibrate, and how models are run over them.

    Attributes:
        load: loads a model into the runtime.
        open_source: opens what gives the inputs of samples, when it is first needed.
        indices: of the calibration part, in order.
        more: indices of samples that only training uses besides.
        labels_of: gives class numbers of samples by index; None where there are none.
    """

    load: Callable[[onnx.ModelProto], LoadedModel]
    open_source: Callable[[], InputSource]
    indices: Sequence[int]
    more: Sequence[int] = ()
    labels_of: Callable[[Sequence[int]], npt.NDArray[np.int64] | None] | None = None

    def collect(self, model: onnx.ModelProto, tensors: Sequence[str]) -> Statistics:
        """Statistics of tensors of a model, in one pass."""
        return collect(ActivationSessions(model, self.load), self.open_source(), self.indices, tensors)

    def batches(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Inputs of one sample after the other, without labels."""
        yield from self._inputs(self.indices)

    def unlabelled(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """The same of all samples that training may use."""
        yield from self._inputs([*self.indices, *self.more])

    def labels(self) -> npt.NDArray[np.int64] | None:
        """Class numbers of the samples of ``unlabelled``, in their order; None where there are none."""
        return None if self.labels_of is None else self.labels_of([*self.indices, *self.more])

    def _inputs(self, indices: Sequence[int]) -> Iterator[dict[str, npt.NDArray[Any]]]:
        source = self.open_source()
        for index in indices:
            feeds = source.inputs([index])
            yield {name: np.asarray(array) for name, array in feeds.items()}

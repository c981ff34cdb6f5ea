"""Labels for a task loss: class numbers of the samples that a training sees, and of no others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autocompress.data.labels import as_classes
from autocompress.data.samples import SampleSource
from autocompress.errors import DataError


def class_labels(source: SampleSource, indices: Sequence[int]) -> npt.NDArray[np.int64] | None:
    """Class numbers of samples; None where the samples have no labels.

    Args:
        source: of the calibration samples.
        indices: which of them.

    Raises:
        DataError: when the labels are no class numbers.
    """
    if not source.has_labels:
        return None
    labels = source.labels(np.asarray(indices, np.int64))
    classes = as_classes(labels)
    if classes is None:
        raise DataError(
            f"the task loss of recovery needs one class number per sample, not labels of {labels.dtype} "
            f"{labels.shape}; leave label_weight at 0"
        )
    return classes

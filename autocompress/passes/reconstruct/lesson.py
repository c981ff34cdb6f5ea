"""What a quantized model is taught with, besides the settings of its training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
from onnx import ModelProto

from autocompress.passes.reconstruct.segments import Batches


@dataclass(frozen=True)
class Lesson:
    """Teacher and samples.

    Attributes:
        teacher: the original.
        batches: starts a pass over unlabelled samples.
        labels: class numbers of the samples in their order, or None.
        same_inside: whether inner tensors of one name mean the same in both models; equalization scales them.
        checkpoint: file by which an interrupted training goes on; None keeps none.
    """

    teacher: ModelProto
    batches: Batches
    labels: npt.NDArray[Any] | None = None
    same_inside: bool = True
    checkpoint: Path | None = None

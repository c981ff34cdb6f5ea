"""Rounding weights by what it does to outputs rather than to the nearest integer.

    adaround    each layer by gradient descent                          (adaround)
    gptq        each layer column by column                             (gptq)
    block       the layers of a block together, by gradient descent     (blockwise)
    distill     all weights and step sizes, by distillation             (distill)

``resolve`` looks at samples and gives a ``ReconstructPayload``; with it the same bytes are made without torch.
"""

from __future__ import annotations

from autocompress.passes.reconstruct.config import DISTILL, METHODS, ReconstructConfig, gentle_training
from autocompress.passes.reconstruct.lesson import Lesson
from autocompress.passes.reconstruct.payload import LayerError, ReconstructPayload
from autocompress.passes.reconstruct.resolve import resolve

__all__ = [
    "DISTILL",
    "METHODS",
    "LayerError",
    "Lesson",
    "ReconstructConfig",
    "ReconstructPayload",
    "gentle_training",
    "resolve",
]

"""Rounding weights by what it does to outputs rather than to the nearest integer.

    adaround    each layer by gradient descent                          (adaround)
    gptq        each layer column by column                             (gptq)
    block       the layers of a block together, by gradient descent     (blockwise)

``resolve`` looks at samples and gives a ``ReconstructPayload``; the quantization step applies it, without torch.
"""

from __future__ import annotations

from autocompress.passes.reconstruct.config import METHODS, ReconstructConfig
from autocompress.passes.reconstruct.payload import LayerError, ReconstructPayload
from autocompress.passes.reconstruct.resolve import resolve

__all__ = ["METHODS", "LayerError", "ReconstructConfig", "ReconstructPayload", "resolve"]

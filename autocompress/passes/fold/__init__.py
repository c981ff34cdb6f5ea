"""Folding: fewer operators, the same function.

    y = a (W x + b) + c   =   (a W) x + (a b + c)        BatchNormalization, Mul, Add, Sub, Div after a layer
    pad then convolve     =   convolve with padding
    reshape then reshape  =   reshape;   transpose then transpose = transpose by the composed permutation
    what depends on no input is computed once

Quantization needs this done first: a normalization between a layer and its activation would keep the runtime from
running both as one integer kernel.
"""

from __future__ import annotations

from autocompress.passes.fold.fold import fold

__all__ = ["fold"]

"""Folding: fewer operators, the same function.

    y = a (W x + b) + c   =   (a W) x + (a b + c)    normalization and arithmetic after a layer   (layers, affine)
    (x W + b) * s + c     =   x (W s) + (b s + c)    and after a MatMul and its bias              (matrix_products)
    W (s x)               =   (W s) x                multiplication before a layer                (scaled_inputs)
    V (W x + b) + c       =   (V W) x + (V b + c)    layers without anything between              (consecutive)
    W x + V x + a x + x   =   (W + V + a + 1) x      parallel branches, as in RepVGG              (branches)
    space to depth, convolve  =  convolve by strides                                              (space_to_depth)
    pad then convolve     =   convolve with padding                                               (padding)
    reshape then reshape  =   reshape                                                             (layout)
    transpose, f, transpose = f, one transpose       f element-wise                               (transposes)
    dequantize, quantize  =   nothing, where both are alike                                       (quantization_pairs)
    x + 0, x * 1, Slice of all, ...  =   x                                                        (no_ops)
    what depends on no input is computed once                                                     (graph.constants)

Quantization needs this done first: a normalization between a layer and its activation would keep the runtime from
running both as one integer kernel.
"""

from __future__ import annotations

from autocompress.passes.fold.fold import fold

__all__ = ["fold"]

"""Bias correction and integer biases.

Rounding a weight W to Wq shifts the mean of the unit's output by E[(Wq - W) x] = (Wq - W) E[x].  The shift is known
from the input's channel means, so it is taken off the bias (Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction", ICCV 2019, section 4.2, with empirical means).  Zero padding is neglected.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from autocompress.passes.quantize.weights import BIAS_LIMIT

FloatArray = npt.NDArray[np.float32]


def corrected_bias(
    bias: FloatArray | None, rounding_error: FloatArray, channel_mean: npt.NDArray[np.float64], groups: int
) -> FloatArray:
    """The bias with the expected effect of weight rounding added back.

    Args:
        bias: of shape (output channels,), or None for zero.
        rounding_error: float minus quantized weight, summed over the kernel, of shape (output channels, inputs of one
            group).
        channel_mean: mean of the unit's input per channel, of shape (groups * inputs of one group,).
        groups: groups of the convolution (1 for Gemm).
    """
    outputs, inputs = rounding_error.shape
    means = channel_mean.reshape(groups, inputs)
    error = rounding_error.reshape(groups, outputs // groups, inputs).astype(np.float64)
    shift = np.einsum("goi,gi->go", error, means).reshape(outputs)
    start = np.zeros(outputs) if bias is None else bias.astype(np.float64)
    corrected: FloatArray = (start + shift).astype(np.float32)
    return corrected


def integer_bias(
    bias: FloatArray, input_scale: float, weight_scales: FloatArray
) -> tuple[npt.NDArray[np.int32], FloatArray]:
    """Bias as int32 in units of input scale times weight scale.

    Returns:
        (integers of shape (channels,), their float32 scales of the shape of ``weight_scales``).
    """
    scales = (np.float32(input_scale) * weight_scales).astype(np.float32)
    integers = np.round(bias.astype(np.float64) / scales.astype(np.float64))
    return np.clip(integers, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32), scales


def overflowing_channels(bias: FloatArray, input_scale: float, weight_scales: FloatArray) -> npt.NDArray[np.bool_]:
    """Channels whose bias does not fit int32 at these scales, of shape (channels,)."""
    product = input_scale * weight_scales.astype(np.float64)
    over: npt.NDArray[np.bool_] = np.abs(bias.astype(np.float64)) > product * BIAS_LIMIT
    return np.broadcast_to(over, bias.shape)

"""The precisions that a unit can have."""

from __future__ import annotations

FP32 = "fp32"
"""Nothing is rounded."""
INT8 = "int8"
"""Integer weights and activations, with ranges from calibration."""
INT8_DYNAMIC = "int8_dynamic"
"""Integer weights; activations are quantized at run time from their own extremes."""
INT8_WEIGHT_ONLY = "int8_weight_only"
"""Weights of 8 bits in blocks; activations stay float."""
INT4_WEIGHT_ONLY = "int4_weight_only"
"""Weights of 4 bits in blocks; activations stay float."""
FP16_WEIGHTS = "fp16_weights"
"""Weights are stored in half the bytes and computed with in float32."""

PRECISIONS = (FP32, INT8, INT8_DYNAMIC, INT8_WEIGHT_ONLY, INT4_WEIGHT_ONLY, FP16_WEIGHTS)
WEIGHT_ONLY = (INT8_WEIGHT_ONLY, INT4_WEIGHT_ONLY)
"""Those with integer weights and float activations."""
INTEGER_WEIGHTS = (INT8, INT8_DYNAMIC, *WEIGHT_ONLY)
"""Those whose weights become integers."""

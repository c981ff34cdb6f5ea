"""Post-training quantization: which units, where Q/DQ stand, integer weights and biases."""

from __future__ import annotations

from autocompress.passes.quantize.config import QuantizeConfig
from autocompress.passes.quantize.precisions import (
    FP16_WEIGHTS,
    FP32,
    INT4_WEIGHT_ONLY,
    INT8,
    INT8_DYNAMIC,
    INT8_WEIGHT_ONLY,
    INTEGER_WEIGHTS,
    PRECISIONS,
    WEIGHT_ONLY,
)
from autocompress.passes.quantize.quantizer import QuantizePayload, Quantizer
from autocompress.passes.quantize.units import Unit

__all__ = [
    "FP16_WEIGHTS",
    "FP32",
    "INT4_WEIGHT_ONLY",
    "INT8",
    "INT8_DYNAMIC",
    "INT8_WEIGHT_ONLY",
    "INTEGER_WEIGHTS",
    "PRECISIONS",
    "WEIGHT_ONLY",
    "QuantizeConfig",
    "QuantizePayload",
    "Quantizer",
    "Unit",
]

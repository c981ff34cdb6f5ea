"""Post-training quantization: which units, where Q/DQ stand, integer weights and biases."""

from __future__ import annotations

from autocompress.passes.quantize.config import FP32, INT8, INT8_DYNAMIC, PRECISIONS, QuantizeConfig
from autocompress.passes.quantize.quantizer import QuantizePayload, Quantizer
from autocompress.passes.quantize.units import Unit

__all__ = ["FP32", "INT8", "INT8_DYNAMIC", "PRECISIONS", "QuantizeConfig", "QuantizePayload", "Quantizer", "Unit"]

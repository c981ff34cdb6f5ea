"""Which rule belongs to which operator of the ONNX standard."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from autocompress.passes.equalize import elementwise, rearranging
from autocompress.passes.equalize.passage import Rule

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys(elementwise.UNARY, elementwise.unary),
        **dict.fromkeys(elementwise.POOLING, elementwise.pooling),
        **dict.fromkeys(elementwise.REDUCTIONS, elementwise.reduction),
        **dict.fromkeys(("Add", "Sub", "Sum"), elementwise.sum_of),
        **dict.fromkeys(("Mul", "Div"), elementwise.product),
        **dict.fromkeys(("Shape", "Size"), elementwise.size_only),
        **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), rearranging.reshape),
        "Clip": elementwise.clip,
        "Expand": rearranging.expand,
        "Gather": rearranging.gather,
        "MatMul": rearranging.product_of_matrices,
        "Pad": rearranging.pad,
        "Resize": rearranging.resize,
        "Slice": rearranging.part,
        "Split": rearranging.split,
        "Transpose": rearranging.transpose,
    }
)
"""Operator -> what it does to scaled channels; Concat is handled where all its operands are known."""

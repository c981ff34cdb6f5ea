"""Why a model costs what it costs: its operators by share, where each price comes from, and what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autocompress.latency.estimator import LatencyEstimator
from autocompress.runtimes.protocol import ExecutedOp

_INT8 = ("int8", "uint8")


def explanation(ops: Sequence[ExecutedOp], estimator: LatencyEstimator) -> list[dict[str, Any]]:
    """Operators, the dearest first, each with its price, share, source and a note where something stands out."""
    prices = estimator.price([op.signature for op in ops])
    total_us = sum(price.latency_us for price in prices) or 1.0
    mixed = any(_computes_in_int8(op) for op in ops)
    rows = [
        {
            "name": op.name,
            "op_type": op.signature.op_type,
            "latency_ms": price.latency_us / 1e3,
            "interval90_ms": [price.low_us / 1e3, price.high_us / 1e3],
            "share": price.latency_us / total_us,
            "source": price.source,
            "note": _note(op, mixed=mixed),
        }
        for op, price in zip(ops, prices, strict=True)
    ]
    return sorted(rows, key=lambda row: -float(row["latency_ms"]))


def _computes_in_int8(op: ExecutedOp) -> bool:
    first = next((t for t in op.signature.inputs if t is not None), None)
    return first is not None and first.dtype in _INT8 and op.signature.op_type != "DequantizeLinear"


def _note(op: ExecutedOp, *, mixed: bool) -> str:
    kind = op.signature.op_type
    if kind == "DequantizeLinear":
        return "leftover conversion: an int8 result is read in float"
    if kind == "QuantizeLinear":
        return "conversion from float"
    if kind in ("ReorderInput", "ReorderOutput", "Transpose") and mixed:
        return "layout change at a precision boundary"
    if not mixed:
        return _channel_note(op)
    if any(part in kind for part in ("Conv", "Gemm", "MatMul")) and not _computes_in_int8(op):
        return "stays in float"
    if kind in ("Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Gelu", "QuickGelu"):
        return "activation that no kernel absorbed"
    return _channel_note(op)


def _channel_note(op: ExecutedOp) -> str:
    if "Conv" not in op.signature.op_type or not op.signature.outputs:
        return ""
    shape = op.signature.outputs[0].shape
    channels = shape[-1] if dict(op.signature.attributes).get("channels_last") else (shape[1] if len(shape) > 1 else 0)
    return f"{channels} channels: not a multiple of 8" if channels % 8 else ""

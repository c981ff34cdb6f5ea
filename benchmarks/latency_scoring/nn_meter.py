"""Baseline "nn-Meter's features with our data".

nn-Meter (Zhang et al., "nn-Meter: Towards Accurate Latency Prediction of Deep-Learning Model Inference on Diverse Edge
Devices", MobiSys 2021) predicts each kernel by a random forest per kernel type on few features (size of the plane,
channels in and out, kernel, stride, FLOPs, parameters) and adds the kernels up; kernel types it does not know count
nothing.  Here kernel types are those that the runtime executes, and the forests learn the frozen table.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from autocompress.graph.signature import OpSignature
from autocompress.latency.roofline import is_integer
from autocompress.latency.table import LatencyTable
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.runtimes.work import convolution_kernel, multiply_adds, weight_of

NN_METER = "nn_meter"
_TREES = 100
_FEWEST_ROWS = 5


class NnMeter:
    """Forests per kernel type.

    Args:
        table: what they learn.
    """

    def __init__(self, table: LatencyTable) -> None:
        from sklearn.ensemble import RandomForestRegressor

        rows: dict[str, list[tuple[list[float], float]]] = defaultdict(list)
        for record in sorted(table, key=lambda r: r.signature.key):
            if record.valid:
                rows[kernel_type(record.signature)].append((kernel_features(record.signature), record.minimum_us))
        self._forests: dict[str, Any] = {}
        for kind, group in rows.items():
            if len(group) >= _FEWEST_ROWS:
                forest = RandomForestRegressor(n_estimators=_TREES, random_state=0, n_jobs=1)
                self._forests[kind] = forest.fit(np.asarray([f for f, _ in group]), [us for _, us in group])

    def predict_ms(self, ops: Sequence[ExecutedOp]) -> float:
        """Sum over the kernels of a model; unknown types count nothing."""
        groups: dict[str, list[list[float]]] = defaultdict(list)
        for op in ops:
            groups[kernel_type(op.signature)].append(kernel_features(op.signature))
        total_us = 0.0
        for kind, features in groups.items():
            if kind in self._forests:
                total_us += float(self._forests[kind].predict(np.asarray(features)).sum())
        return total_us / 1e3


def kernel_type(signature: OpSignature) -> str:
    """Operator, depthwise or not, and arithmetic."""
    kernel = convolution_kernel(signature)
    group = dict(signature.attributes).get("group", 1)
    depthwise = kernel is not None and group != 1 and kernel.shape[1] == 1
    return f"{signature.op_type}{' depthwise' if depthwise else ''}{' int8' if is_integer(signature) else ''}"


def kernel_features(signature: OpSignature) -> list[float]:
    """Plane, channels in, channels out, kernel, stride, FLOPs, parameters."""
    attributes = dict(signature.attributes)
    shape = signature.outputs[0].shape if signature.outputs else ()
    plane = shape[1:-1] if attributes.get("channels_last") else shape[2:]
    kernel, weight, macs = convolution_kernel(signature), weight_of(signature), multiply_adds(signature)
    first = signature.inputs[0] if signature.inputs else None
    if kernel is not None:
        channels_in, channels_out = kernel.shape[1] * _number(attributes.get("group", 1)), kernel.shape[0]
    elif macs and shape:
        rows = math.prod(shape[:-1])
        plane, channels_in, channels_out = (rows,), macs / max(math.prod(shape), 1), shape[-1]
    else:
        channels_in = first.shape[1] if first is not None and len(first.shape) > 1 else 1
        channels_out = shape[1] if len(shape) > 1 else 1
    window = kernel.shape[2:] if kernel is not None else attributes.get("kernel_shape", (1,))
    return [
        float(math.prod(plane)), float(channels_in), float(channels_out), _number(window),
        _number(attributes.get("strides", 1)), 2.0 * macs, float(weight.elements if weight is not None else 0),
    ]  # fmt: skip


def _number(value: object) -> float:
    if isinstance(value, tuple):
        return float(value[0]) if value else 1.0
    return float(value) if isinstance(value, int | float) else 1.0

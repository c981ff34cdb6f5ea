"""Small tables whose times follow a known law, and operators to ask about."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

import numpy as np

from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.composition import ObservedModel
from autocompress.latency.device import Device
from autocompress.latency.header import TableHeader
from autocompress.latency.record import LatencyRecord
from autocompress.latency.roofline import Roofline
from autocompress.latency.table import LatencyTable

ROOFLINE = Roofline(float_gmacs=50.0, int8_gmacs=200.0, gbytes_per_s=20.0, launch_us=0.5)
HEADER = TableHeader(
    Device("amd", "25-17", "a processor", ("avx2", "fma"), 2),
    "onnxruntime",
    "1.31.1",
    1,
    "cpu",
    "2025-01-01",
    "a test",
    ROOFLINE.to_constants(),
)
Law = Callable[[OpSignature], float]


def conv(
    channels: int, results: int, size: int, window: int = 3, *, stride: int = 1, domain: str = "", groups: int = 1
) -> OpSignature:
    out = size // stride
    attributes: list[tuple[str, object]] = [("kernel_shape", (window, window))]
    attributes += [("strides", (stride, stride))] if stride > 1 else []
    attributes += [("group", groups)] if groups > 1 else []
    return OpSignature(
        domain,
        "Conv",
        (
            TensorType("float32", (1, channels, size, size)),
            TensorType("float32", (results, channels // groups, window, window), True),
        ),
        (TensorType("float32", (1, results, out, out)),),
        tuple(sorted(attributes)),  # type: ignore[arg-type]
    )


def relu(*shape: int) -> OpSignature:
    x = TensorType("float32", shape)
    return OpSignature("", "Relu", (x,), (x,))


def record(signature: OpSignature, latency_us: float) -> LatencyRecord:
    return LatencyRecord(signature, latency_us * 1.01, latency_us, 0.01 * latency_us, 20)


def law_us(signature: OpSignature) -> float:
    """Twice the bound for convolutions, three times for the rest."""
    factor = 2.0 if signature.op_type == "Conv" else 3.0
    return factor * ROOFLINE.bound_us(signature)


def family_of_models(name: str, base: int, law: Law = law_us) -> tuple[list[LatencyRecord], dict[str, ObservedModel]]:
    """Records and whole models of one architecture family: plain stacks of convolutions of growing width."""
    records: list[LatencyRecord] = []
    models = {}
    for variant, width in (("fp32", base), ("int8", base + 4), ("pruned", base + 7)):
        layers = [conv(width, width, size) for size in (28, 14, 7)] + [relu(1, width, 28, 28)]
        times = [record(layer, law(layer)) for layer in layers]
        records += times
        operators_us = sum(t.minimum_us for t in times)
        models[f"{name}/{variant}"] = ObservedModel(
            family=name,
            operators_us=operators_us,
            nodes=len(layers),
            streamed_mbytes={},
            activation_mbytes={},
            latency_us=1.05 * operators_us + 4.0,
            operators=dict(Counter(layer.key for layer in layers)),
        )
    return records, models


def families_table(count: int = 8, law: Law = law_us, odd: str | None = None) -> LatencyTable:
    """A table of several families; the one named ``odd`` takes twice as long as all others."""
    table = LatencyTable(HEADER)
    for i in range(count):
        name = f"family{i}"
        scaled: Law = (lambda s: 2 * law(s)) if name == odd else law
        records, models = family_of_models(name, 16 + 12 * i, scaled)
        for each in records:
            table.add(each)
        for title, model in models.items():
            table.add_model(title, model)
    return table


def with_times(table: LatencyTable, keys: frozenset[str], factor: float) -> LatencyTable:
    """The table with some records made slower; its models as they were."""
    changed = [
        dataclasses.replace(r, minimum_us=r.minimum_us * factor, median_us=r.median_us * factor)
        if r.signature.key in keys
        else r
        for r in table
    ]
    return LatencyTable(table.header, changed, table.models)


def log_errors(found: list[float], expected: list[float]) -> np.ndarray:
    return np.abs(np.log(np.asarray(found) / np.asarray(expected)))

"""Latency tables as documents: headers, operators and families, JSON-ready, times in microseconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.families import family_of
from autocompress.latency.header import TableHeader
from autocompress.latency.record import LatencyRecord

_Row = TypeVar("_Row")


def header_row(header: TableHeader) -> dict[str, Any]:
    """Where a table comes from."""
    return {
        "device": header.device.name,
        "fingerprint": header.device.fingerprint,
        "runtime": header.runtime,
        "runtime_version": header.runtime_version,
        "threads": header.threads,
        "clock": header.clock,
        "method": header.method,
        "date": header.date,
        "command": header.command,
        "constants": dict(header.constants),
    }


def operator_row(record: LatencyRecord) -> dict[str, Any]:
    """One operator; its times are None where they must not be used."""
    times = {"minimum_us": record.minimum_us, "median_us": record.median_us, "spread_us": record.spread_us}
    return {
        "key": record.signature.key,
        "family": family_of(record.signature),
        "op_type": record.signature.op_type,
        "work": work_of(record.signature),
        **(times if record.valid else dict.fromkeys(times)),
        "repeats": record.repeats,
        "invalid_reason": record.invalid_reason,
    }


def work_of(signature: OpSignature) -> str:
    """What an operator works on, in short: ``float32 1x64x28x28, float32 64x64x3x3 -> 1x64x28x28, pads 1 1 1 1``."""
    operands = [_type(t) for t in signature.inputs if t is not None and (t.elements > 1 or not t.constant)]
    results = ["x".join(map(str, t.shape)) or "scalar" for t in signature.outputs]
    attributes = [f"{name} {_value(value)}" for name, value in signature.attributes]
    sparsity = [f"sparsity {signature.sparsity:g}"] if signature.sparsity else []
    return ", ".join([f"{', '.join(operands)} -> {', '.join(results)}", *attributes, *sparsity])


def slowest_first(records: Iterable[LatencyRecord]) -> list[LatencyRecord]:
    """Records by time; invalid ones, whose times say nothing, at the end."""
    return sorted(records, key=lambda record: (not record.valid, -record.minimum_us, record.signature.key))


def limited(rows: Sequence[_Row], limit: int) -> Sequence[_Row]:
    """The first ``limit`` rows; all of them for 0."""
    return rows[:limit] if limit else rows


def family_rows(records: Iterable[LatencyRecord]) -> list[dict[str, Any]]:
    """Per family how many operators there are, how many of them valid, and what they take; the largest first."""
    families: dict[str, list[LatencyRecord]] = {}
    for record in records:
        families.setdefault(family_of(record.signature), []).append(record)
    rows = [_family_row(name, members) for name, members in families.items()]
    return sorted(rows, key=lambda row: (-row["records"], row["family"]))


def _family_row(name: str, records: Sequence[LatencyRecord]) -> dict[str, Any]:
    times = [record.minimum_us for record in records if record.valid]
    return {
        "family": name,
        "records": len(records),
        "valid": len(times),
        "fastest_us": min(times, default=None),
        "median_us": float(np.median(times)) if times else None,
        "slowest_us": max(times, default=None),
    }


def _type(tensor: TensorType) -> str:
    return f"{tensor.dtype} {'x'.join(map(str, tensor.shape)) or 'scalar'}"


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

"""The operators of an executed graph as rows, the dearest first."""

from __future__ import annotations

from typing import Any

from autocompress.api.explain import words
from autocompress.api.explain.executed import PricedGraph, PricedOp
from autocompress.api.explain.reasons import Evidence, reasons_of
from autocompress.api.operators import compute_dtype, shape_text
from autocompress.runtimes.work import bytes_touched

RUN = "the run itself"


def operator_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """One row per operator: what it is, what it costs, where the price comes from, and what there is to say."""
    rows = [_row(op, evidence) for op in evidence.graph.ops]
    return sorted(rows, key=lambda row: -float(row["latency_ms"]))


def kind_rows(graph: PricedGraph) -> list[dict[str, Any]]:
    """What each kind of operator takes together, the dearest first."""
    return sorted(kinds(graph).values(), key=lambda row: -float(row["latency_ms"]))


def kinds(graph: PricedGraph) -> dict[str, dict[str, Any]]:
    """Kind of operator -> its row."""
    found: dict[str, dict[str, Any]] = {}
    for op in graph.ops:
        kind = words.kind(op.family)
        row = found.setdefault(kind, {"kind": kind, "operators": 0, "latency_ms": 0.0, "share": 0.0})
        row["operators"] += 1
        row["latency_ms"] += op.price.latency_us / 1e3
        row["share"] += op.price.latency_us / graph.total_us
    rest_us = graph.total_us - sum(op.price.latency_us for op in graph.ops)
    if rest_us > 0:
        found[RUN] = {"kind": RUN, "operators": 0, "latency_ms": rest_us / 1e3, "share": rest_us / graph.total_us}
    return found


def _row(op: PricedOp, evidence: Evidence) -> dict[str, Any]:
    price, found = op.price, reasons_of(op, evidence)
    seconds = price.latency_us * 1e-6
    return {
        "name": op.op.name,
        "label": evidence.given.label(op),
        "op_type": op.signature.op_type,
        "kind": words.kind(op.family),
        "role": op.role,
        "integer": op.integer,
        "dtype": compute_dtype(op.signature),
        "shapes": shape_text(op.signature),
        "sources": list(op.op.sources),
        "latency_ms": price.latency_us / 1e3,
        "interval90_ms": [price.low_us / 1e3, price.high_us / 1e3],
        "share": price.latency_us / evidence.graph.total_us,
        "source": price.source,
        "macs": op.macs,
        "bytes": bytes_touched(op.signature),
        "gmacs_per_s": op.macs / seconds / 1e9 if op.macs else None,
        "reasons": [reason.to_dict() for reason in found],
        "note": "; ".join(reason.text for reason in found),
    }

"""Executed operators as rows of a report: what each is, what it costs, and where that number comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx

from autocompress.api.feeds import random_feeds
from autocompress.errors import ModelError, RuntimeFailure
from autocompress.graph.model import briefly_loadable
from autocompress.graph.signature import OpSignature, TensorType
from autocompress.passes.quantize import Unit
from autocompress.runtimes.protocol import ExecutedOp, Runtime
from autocompress.runtimes.work import multiply_adds
from autocompress.search.attribution import attribute_ops
from autocompress.store.records import OperatorRecord

if TYPE_CHECKING:
    from autocompress.latency.estimator import LatencyEstimator


def executed(engine: Runtime, bound: onnx.ModelProto, threads: int) -> list[ExecutedOp]:
    """A model whose sizes are all numbers, as the runtime executes it.

    Raises:
        ModelError: when the runtime cannot run it.
    """
    try:
        with briefly_loadable(bound) as given:
            return list(engine.executed_ops(given, random_feeds(bound), threads=threads, standalone=False))
    except RuntimeFailure as error:
        raise ModelError(f"the runtime cannot run the model: {error}") from error


def operator_records(
    ops: Sequence[ExecutedOp], estimator: LatencyEstimator, units: Sequence[Unit]
) -> list[OperatorRecord]:
    """One row per executed operator, in execution order."""
    prices = estimator.price([op.signature for op in ops])
    owners = attribute_ops(ops, units)
    total = sum(price.latency_us for price in prices) or 1.0
    return [
        OperatorRecord(
            name=op.name,
            op_type=op.signature.op_type,
            layer="" if owner is None else units[owner].name,
            shape=shape_text(op.signature),
            dtype=compute_dtype(op.signature),
            parameters=parameters(op.signature),
            macs=multiply_adds(op.signature),
            estimated_ms=price.latency_us / 1e3,
            source=price.source,
            share=price.latency_us / total,
        )
        for op, price, owner in zip(ops, prices, owners, strict=True)
    ]


def parameters(signature: OpSignature) -> int:
    """Number of constant values that an operator holds, scalars left out."""
    return sum(t.elements for t in signature.inputs if t is not None and t.constant and t.shape)


def compute_dtype(signature: OpSignature) -> str:
    """Type of the first operand that is data."""
    return next((t.dtype for t in signature.inputs if t is not None), "")


def shape_text(signature: OpSignature) -> str:
    """Readable shapes: activations in, results out."""
    activations = [t for t in signature.inputs if t is not None and not t.constant and t.shape]
    return f"{_joined(activations)} -> {_joined(signature.outputs)}"


def _joined(tensors: Sequence[TensorType]) -> str:
    return ", ".join("x".join(map(str, t.shape)) for t in tensors)

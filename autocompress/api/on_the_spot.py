"""Times on the spot what neither table nor forest knows of a model, where the device is the one at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx

from autocompress.api.feeds import random_feeds
from autocompress.api.latency_model import LatencyModel
from autocompress.errors import RuntimeFailure, StorageError
from autocompress.graph.model import model_bytes
from autocompress.latency.estimator import LatencyEstimator
from autocompress.runtimes.protocol import ExecutedOp

_BUDGET_S = 20.0


def with_unknown_timed(
    latency: LatencyModel, bound: onnx.ModelProto, ops: Sequence[ExecutedOp]
) -> tuple[LatencyEstimator, list[str]]:
    """An estimator that knows the operators of a model as far as they can be known.

    Args:
        latency: what is known about the device.
        bound: the model, with every size a number.
        ops: its operators as executed.

    Returns:
        (the estimator, sentences about operators that were timed now, and about those that only a bound prices).
    """
    estimator = latency.open_estimator()
    unknown = estimator.unknown(ops)
    if not unknown:
        return estimator, []
    refusal = None
    try:
        outcome = latency.source.profile_unknown(model_bytes(bound), random_feeds(bound), unknown, budget_s=_BUDGET_S)
        refusal = None if outcome is None else outcome.refusal
        estimator = latency.open_estimator() if outcome is not None and outcome.measured else estimator
    except (RuntimeFailure, StorageError) as error:
        refusal = str(error)
    left = estimator.unknown(ops)
    keys = {op.signature.key for op in left}
    sentences = []
    if timed := [op for op in unknown if op.signature.key not in keys]:
        place = latency.writable_table.name
        sentences.append(f"neither table nor forest knew {_types(timed)}: timed now, and kept in {place} of this user")
    if left:
        why = f" ({refusal})" if refusal else ""
        sentences.append(f"neither table nor forest knows {_types(left)}: priced by a stated bound only{why}")
    return estimator, sentences


def _types(ops: Iterable[ExecutedOp]) -> str:
    return ", ".join(sorted({op.signature.op_type for op in ops}))

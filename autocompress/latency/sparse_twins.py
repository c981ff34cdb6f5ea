"""What zeros in its weights do to an operator's time, where only its dense twin was measured.

A table that has an operator with dense weights but not with sparse ones still knows most about it.  Its row is scaled
by what forests say that zeros change:

    time(sparse) = row(dense) * forest(sparse) / forest(dense)

Forests that have never seen zeros help, say 1; so a runtime without kernels for zeros is not credited with any.
"""

from __future__ import annotations

from dataclasses import replace

from autocompress.graph.signature import OpSignature
from autocompress.latency.record import LatencyRecord
from autocompress.latency.serving import Prediction
from autocompress.latency.table import LatencyTable

_UNKNOWN = 0.1  # 90 %: zeros that nobody has timed


def dense_twin(signature: OpSignature) -> OpSignature:
    """The same operator with dense weights."""
    return replace(signature, sparsity=0.0)


def measured_twin(table: LatencyTable | None, signature: OpSignature) -> LatencyRecord | None:
    """The record of the dense twin of a sparse operator; None where there is none, or the operator is dense itself."""
    if table is None or not signature.sparsity:
        return None
    return table.find(dense_twin(signature))


def relative_to(record: LatencyRecord, sparse: Prediction | None, dense: Prediction | None) -> Prediction:
    """The time of a sparse operator from the row of its dense twin and what forests say of both."""
    ratio = sparse.latency_us / dense.latency_us if sparse is not None and dense is not None else 1.0
    latency_us = record.minimum_us * ratio
    return Prediction(latency_us, latency_us * (1.0 - _UNKNOWN), latency_us * (1.0 + _UNKNOWN))

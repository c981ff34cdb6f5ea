"""Why an executed operator costs what it costs, and what stands between it and integers: facts in words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from autocompress.api.explain import kernels, passages
from autocompress.api.explain.executed import CONVERSION, KERNEL, LAYOUT, OTHER, PricedGraph, PricedOp
from autocompress.api.explain.given import GivenModel
from autocompress.api.explain.reason import Reason
from autocompress.latency.estimator import BOUND, LatencyEstimator

_WORTH_A_WORD = 0.002  # share of the model's time below which only structure is worth mentioning


@dataclass(frozen=True)
class Evidence:
    """Everything that reasons are found from.

    Attributes:
        graph: the executed graph.
        given: the model it was made of.
        estimator: prices what might be instead.
        runtime: name of the runtime.
    """

    graph: PricedGraph
    given: GivenModel
    estimator: LatencyEstimator
    runtime: str

    @cached_property
    def quantized(self) -> bool:
        """Whether anything of the model is on integers, or comes from integers."""
        return any(op.integer or op.role == CONVERSION for op in self.graph.ops)


def reasons_of(op: PricedOp, evidence: Evidence) -> list[Reason]:
    """What there is to say about one operator, the most telling first."""
    graph, given = evidence.graph, evidence.given
    found: list[Reason | None] = []
    if op.role == CONVERSION:
        found.append(passages.conversion(op, graph, given, evidence.runtime))
    elif op.role == LAYOUT:
        found.append(passages.layout(op, graph, given))
    else:
        found.append(passages.own_activation(op, graph, given))
        if not op.integer:
            found.append(kernels.padding(op, given))
            found.append(kernels.stays_float(op, given, evidence.runtime, quantized=evidence.quantized))
    if op.role in (KERNEL, OTHER) and _is_worth_a_word(op, graph):
        found += _from_numbers(op, evidence.estimator)
    return [reason for reason in found if reason is not None]


def _is_worth_a_word(op: PricedOp, graph: PricedGraph) -> bool:
    """Whether an operator takes time that matters, by more than a bound."""
    return op.price.source != BOUND and op.price.latency_us >= _WORTH_A_WORD * graph.total_us


def _from_numbers(op: PricedOp, estimator: LatencyEstimator) -> list[Reason | None]:
    limit = kernels.limit(op, estimator)
    if op.role != KERNEL or kernels.is_small(op, estimator):
        return [limit]
    scheme, idle = kernels.other_scheme(op, estimator), kernels.idle_arithmetic(op, estimator)
    return [scheme, *kernels.channels(op, estimator), idle, limit]

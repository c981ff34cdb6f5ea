"""Completes whole models that were observed before their operators were written down: without timing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from autocompress.errors import RuntimeFailure
from autocompress.latency.table import LatencyTable
from autocompress.latency.zoo.catalogue import Architecture
from autocompress.latency.zoo.variant import Variant
from autocompress.runtimes.protocol import Runtime


def with_operators(
    table: LatencyTable, runtime: Runtime, models: Iterable[tuple[Architecture, Variant]]
) -> LatencyTable:
    """The table, its models with the operators they execute; a model that is executed differently now stays as it is.

    Args:
        table: operators and whole models.
        runtime: what executed them.
        models: what they were built from.
    """
    completed = dict(table.models)
    for architecture, variant in models:
        name = f"{architecture.name}/{variant.name}"
        observed = completed.get(name)
        if observed is None or observed.operators:
            continue
        try:
            ops = runtime.executed_ops(
                architecture.build(variant), architecture.feeds(), threads=table.header.threads, standalone=False
            )
        except RuntimeFailure:  # another version of the runtime took it
            continue
        counts = Counter(op.signature.key for op in ops)
        if len(ops) == observed.nodes and sum(op.signature in table for op in ops) == observed.nodes:
            completed[name] = replace(observed, operators=dict(sorted(counts.items())))
    return LatencyTable(table.header, table, completed)

"""Whole models timed on a device, which the composition is fitted on: lines of the table of their own kind."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autocompress.latency import row as fields
from autocompress.latency.composition import (
    ObservedModel,
    activation_mbytes,
    arithmetic_of,
    kind_of,
    streamed_mbytes,
)
from autocompress.latency.families import family_of
from autocompress.runtimes.protocol import ExecutedOp

if TYPE_CHECKING:
    from autocompress.latency.table import LatencyTable

_DIGITS = 5
_READERS: Mapping[str, Callable[[fields.Row, str], Any]] = {
    "str": fields.text,
    "float": fields.amount,
    "int": fields.count,
    "Mapping[str, float]": fields.amounts,
    "Mapping[str, int]": fields.counts,
}


def observe(family: str, ops: Sequence[ExecutedOp], table: LatencyTable, latency_us: float) -> ObservedModel:
    """A measured model as the composition sees it; operators that the table lacks count as the others of their kind."""
    times = [(family_of(op.signature), table.find(op.signature)) for op in ops]
    known: dict[str, list[float]] = {}
    for kind, record in times:
        if record is not None:
            known.setdefault(kind, []).append(record.minimum_us)
    typical = {kind: float(np.median(values)) for kind, values in known.items()}
    total = sum(record.minimum_us if record is not None else typical.get(kind, 0.0) for kind, record in times)
    return ObservedModel(
        family=family,
        operators_us=total,
        nodes=len(ops),
        streamed_mbytes=_summed((kind_of(op.signature), streamed_mbytes(op.signature)) for op in ops),
        activation_mbytes=_summed((arithmetic_of(op.signature), activation_mbytes(op.signature)) for op in ops),
        latency_us=latency_us,
        missing=sum(record is None for _, record in times),
        operators=dict(sorted(Counter(op.signature.key for op in ops).items())),
    )


def model_line(name: str, model: ObservedModel) -> str:
    """One line of JSON, without the line break."""
    return json.dumps({"model": name, **_rounded(dataclasses.asdict(model))}, separators=(",", ":"))


def model_of_row(row: Mapping[str, Any]) -> tuple[str, ObservedModel]:
    """Inverse of ``model_line``: the model's name and what was observed of it.

    Raises:
        ValueError: saying what is wrong with the row.
    """
    name, values = fields.text(row, "model"), {}
    known = {field.name: field for field in dataclasses.fields(ObservedModel)}
    strange = row.keys() - known.keys() - {"model"}
    if strange:
        raise ValueError(f"it has a field {min(strange)!r} that no model has")
    for field in known.values():
        if field.name in row or field.default is field.default_factory is dataclasses.MISSING:
            values[field.name] = _READERS[str(field.type)](row, field.name)
    model = ObservedModel(**values)
    if not (model.latency_us > 0 and model.operators_us > 0 and model.nodes > 0 and model.missing <= model.nodes):
        raise ValueError("it has no nodes, takes no time, or lacks more operators than it has")
    return name, model


def better_model(first: ObservedModel, second: ObservedModel) -> ObservedModel:
    """Of two observations of one model the one that lacks fewer operators, then the faster one, then the first."""
    a, b = (first.missing, first.latency_us), (second.missing, second.latency_us)
    return second if b < a else first


def _summed(sizes: Iterable[tuple[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for kind, size in sizes:
        if size:
            total[kind] = total.get(kind, 0.0) + size
    return {kind: fields.rounded(size, _DIGITS) for kind, size in sorted(total.items())}


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return fields.rounded(value, _DIGITS) if isinstance(value, float) else value

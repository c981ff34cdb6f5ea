"""Whole models timed on a device, which the composition is fitted on; kept as JSON lines beside the table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from autocompress.errors import StorageError, TableError
from autocompress.latency.composition import (
    ObservedModel,
    activation_mbytes,
    arithmetic_of,
    kind_of,
    streamed_mbytes,
)
from autocompress.latency.families import family_of
from autocompress.latency.table import LatencyTable
from autocompress.runtimes.protocol import ExecutedOp

MODELS_SUFFIX = ".models.jsonl"


def models_path(table: Path) -> Path:
    """Where the whole models observed beside a table are kept."""
    return table.with_suffix(MODELS_SUFFIX)


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
    )


def _summed(sizes: Iterable[tuple[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for kind, size in sizes:
        if size:
            total[kind] = total.get(kind, 0.0) + size
    return {kind: float(f"{size:.5g}") for kind, size in sorted(total.items())}


def load_models(table: Path) -> dict[str, ObservedModel]:
    """Whole models observed beside a table, by name; the last of several observations counts.

    Raises:
        TableError: when the file is damaged.
    """
    path = models_path(table)
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    models = {}
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            name = str(row.pop("model"))
            models[name] = ObservedModel(**row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if number == len(lines):
                break  # a process died while writing; the model is timed again
            raise TableError(f"{path.name} line {number} is damaged ({error}); remove it") from error
    return models


def append_model(table: Path, name: str, model: ObservedModel) -> None:
    """Puts one observation on disk at once.

    Raises:
        StorageError: when the place cannot be written.
    """
    path = models_path(table)
    row = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in asdict(model).items()}
    try:
        with path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # a process that died while writing leaves half a line
            file.write(json.dumps({"model": name, **row}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"cannot write {path.name}: {error.strerror or error}") from error

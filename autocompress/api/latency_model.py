"""The latency model of this device: which table and predictors are used, and where new records go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.latency.estimator import LatencyEstimator
from autocompress.latency.journal import TableFile
from autocompress.latency.locate import (
    cached_table_path,
    forced_table,
    predictors_folder,
    read_header,
    shipped_table,
)
from autocompress.latency.predictor import Predictors
from autocompress.latency.profile import new_header, with_constants
from autocompress.latency.table import LatencyTable, TableHeader
from autocompress.measurement import EstimatedLatency, Interval
from autocompress.runtimes.protocol import ExecutedOp, Runtime

if TYPE_CHECKING:
    from autocompress.search.state import SearchState


@dataclass(frozen=True)
class LatencyModel:
    """What prices operators on this device.

    Attributes:
        header: this device, runtime, version and thread count.
        shipped: the table that ships for it (or was forced), or None.
        shipped_path: its file.
        writable_table: file to which newly timed operators are added.
        predictors_path: folder of the forests, or None.
        notices: sentences a person should read.
    """

    header: TableHeader
    shipped: LatencyTable | None
    shipped_path: Path | None
    writable_table: Path
    predictors_path: Path | None
    notices: tuple[str, ...]

    @property
    def device(self) -> str:
        """The device, as one readable line."""
        device = self.header.device
        return f"{device.name} ({device.fingerprint})"

    @property
    def table_name(self) -> str:
        """Names of the tables in use."""
        names = [self.shipped_path.name] if self.shipped_path is not None else []
        if self.writable_table.exists():
            names.append(f"{self.writable_table.name} (this user's own)")
        return ", ".join(names) or "none"

    @property
    def anchor(self) -> str:
        """What estimates of finalists are re-anchored on."""
        return "baseline"

    def table(self) -> LatencyTable:
        """All records known: those that ship and those timed here; what was timed here wins."""
        own = TableFile(self.writable_table, self.header).load() if self.writable_table.exists() else None
        if self.shipped is None:
            return own if own is not None else LatencyTable(self.header)
        if own is None or not len(own):
            return self.shipped
        combined = LatencyTable(self.shipped.header, self.shipped)
        for record in own:
            if record.signature not in combined:
                combined.add(record)
        return combined

    def open_estimator(self) -> LatencyEstimator:
        """The estimator over everything known now."""
        predictors = None if self.predictors_path is None else Predictors.load(self.predictors_path)
        return LatencyEstimator(self.table(), predictors)

    def anchored(self, ops: Sequence[ExecutedOp], state: SearchState) -> EstimatedLatency:
        """Estimate of a finalist; scaled by measured over estimated baseline, except in deterministic runs."""
        assert state.estimator is not None
        estimate = state.estimator.estimate(ops)
        if state.settings.deterministic or state.baseline is None or state.baseline_estimate is None:
            return estimate
        factor = state.baseline.latency.latency_ms / state.baseline_estimate.latency_ms
        interval = estimate.interval90_ms
        return replace(
            estimate,
            latency_ms=estimate.latency_ms * factor,
            interval90_ms=Interval(interval.low * factor, interval.high * factor),
        )


def open_latency_model(runtime: Runtime, threads: int, *, forced: Path | None = None) -> LatencyModel:
    """Finds the table and predictors for this device.

    Args:
        runtime: the runtime.
        threads: intra-op threads.
        forced: a table the user insists on.

    Raises:
        TableError: when a table is damaged.
    """
    header = new_header(runtime, threads)
    found = forced_table(forced, header) if forced is not None else shipped_table(header)
    if found is not None:
        header = replace(header, constants=found.table.header.constants)
    own = cached_table_path(header)
    if found is None and own.exists():
        header = read_header(own)
    elif found is None:
        header = with_constants(runtime, header)
    notices = list(found.notices) if found is not None else []
    if found is None:
        notices.append(
            f"no latency table ships for this device ({header.device.fingerprint}, {runtime.name} {runtime.version}, "
            f"{threads} threads): operators of this model are timed first and kept in {own}"
        )
    return LatencyModel(
        header=header,
        shipped=None if found is None else found.table,
        shipped_path=None if found is None else found.path,
        writable_table=own,
        predictors_path=predictors_folder(found.table.header if found is not None else header),
        notices=tuple(notices),
    )


"""The latency model of this device as reports and searches use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.latency.estimator import LatencyEstimator, re_anchor
from autocompress.latency.opening import LatencySource, open_latency
from autocompress.latency.table import TableHeader
from autocompress.measurement import EstimatedLatency
from autocompress.progress import NullProgress, Progress
from autocompress.runtimes.protocol import ExecutedOp, Runtime

if TYPE_CHECKING:
    from autocompress.search.state import SearchState

# What is left of the error once the baseline has been measured (conservative; see latency_tables/README.md).
_ANCHORED_ERROR90 = 0.10


@dataclass(frozen=True)
class LatencyModel:
    """What prices operators on this device.

    Attributes:
        source: tables and predictors.
    """

    source: LatencySource

    @property
    def header(self) -> TableHeader:
        """This device, runtime, version and thread count."""
        return self.source.header

    @property
    def writable_table(self) -> Path:
        """File to which newly timed operators are added."""
        return self.source.file.path

    @property
    def shipped_path(self) -> Path | None:
        """The table that ships for this device, or was forced."""
        return None if self.source.base is None else self.source.base.path

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences a person should read."""
        if self.shipped_path is not None:
            return self.source.notices
        device, runtime = self.header.device, self.source.runtime
        return (
            *self.source.notices,
            f"no latency table ships for this device ({device.fingerprint}, {runtime.name} {runtime.version}, "
            f"{self.header.threads} threads): operators that are not known yet are timed first and kept in "
            f"{self.writable_table}",
        )

    @property
    def device(self) -> str:
        """The device, as one readable line."""
        return f"{self.header.device.name} ({self.header.device.fingerprint})"

    @property
    def table_name(self) -> str:
        """Names of the tables in use."""
        names = [] if self.shipped_path is None else [self.shipped_path.name]
        if self.writable_table.exists():
            names.append(f"{self.writable_table.name} of this user")
        return ", ".join(names) or "none"

    @property
    def anchor(self) -> str:
        """What estimates of finalists are re-anchored on."""
        return "baseline"

    def open_estimator(self) -> LatencyEstimator:
        """The estimator over everything known now."""
        return self.source.estimator()

    def anchored(self, ops: Sequence[ExecutedOp], state: SearchState) -> EstimatedLatency:
        """Estimate of a finalist; scaled by measured over estimated baseline, except in deterministic runs."""
        assert state.estimator is not None
        estimate = state.estimator.estimate(ops)
        if state.settings.deterministic or state.baseline is None or state.baseline_estimate is None:
            return estimate
        factor = state.baseline.latency.latency_ms / state.baseline_estimate.latency_ms
        return re_anchor(estimate, factor, relative_error90=_ANCHORED_ERROR90)


def open_latency_model(
    runtime: Runtime, threads: int, *, forced: Path | None = None, progress: Progress | None = None
) -> LatencyModel:
    """Finds the table and predictors for this device.

    Args:
        runtime: the runtime.
        threads: intra-op threads.
        forced: a table the user insists on.
        progress: told what does not fit.

    Raises:
        TableError: when a table is damaged.
    """
    return LatencyModel(open_latency(runtime, threads=threads, table=forced, progress=progress or NullProgress()))

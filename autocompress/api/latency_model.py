"""The latency model of this device as reports and searches use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autocompress.latency.estimator import LatencyEstimator
from autocompress.latency.opening import LatencySource, open_latency
from autocompress.latency.table import TableHeader
from autocompress.progress import NullProgress, Progress
from autocompress.runtimes.protocol import Runtime


@dataclass(frozen=True)
class LatencyModel:
    """What prices operators on this device.

    Attributes:
        source: tables and predictors.
    """

    source: LatencySource

    @property
    def header(self) -> TableHeader:
        """The device, runtime, version and thread count that latencies are about."""
        return self.source.header

    @property
    def elsewhere(self) -> bool:
        """Whether all this is about another device than this one, so that nothing timed here counts."""
        return self.source.elsewhere

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
        if not self.elsewhere and self.writable_table.exists():
            names.append(f"{self.writable_table.name} of this user")
        return ", ".join(names) or "none"

    def open_estimator(self) -> LatencyEstimator:
        """The estimator over everything known now."""
        return self.source.estimator()


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

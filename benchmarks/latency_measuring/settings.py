"""One runtime with one number of threads, and the estimator that is put to the test there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from autocompress.errors import TableError
from autocompress.latency.estimator import LatencyEstimator
from autocompress.latency.locate import read_header, tables_in
from autocompress.latency.predictor import Predictors, load_predictors
from autocompress.latency.profile import new_header
from autocompress.latency.table import LatencyTable, TableHeader, header_differences
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import Runtime


@dataclass(frozen=True)
class Setting:
    """Where models run.

    Attributes:
        runtime: what executes them.
        threads: intra-op threads.
        table_path: the latency table of this device, runtime, version and thread count.
        predictors_folder: the forests trained on it.
    """

    runtime: Runtime
    threads: int
    table_path: Path
    predictors_folder: Path

    @property
    def name(self) -> str:
        """Such as "onnxruntime, 1 thread"."""
        return f"{self.runtime.name}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    @property
    def slug(self) -> str:
        """The same for file names."""
        return f"{self.runtime.name}-{self.runtime.version}-t{self.threads}"

    @property
    def files(self) -> list[Path]:
        """Everything that estimates are made from."""
        return [self.table_path, *sorted(p for p in self.predictors_folder.iterdir() if p.is_file())]

    @cached_property
    def table(self) -> LatencyTable:
        """The table."""
        return LatencyTable.load(self.table_path)

    @cached_property
    def predictors(self) -> Predictors:
        """The forests; refused when they were trained on another table."""
        return load_predictors(self.predictors_folder, self.table_path)

    @property
    def estimator(self) -> LatencyEstimator:
        """Table first, forest second, bound last, as the commands use it."""
        return LatencyEstimator(self.table, self.predictors)


def open_setting(runtime_name: str, threads: int, tables: Path, predictors: Path) -> Setting:
    """Finds the table and the forests of this device.

    Args:
        runtime_name: name of the runtime.
        threads: intra-op threads.
        tables: folder of latency tables.
        predictors: folder of predictors, one folder per table.

    Raises:
        TableError: when there are none for this device, runtime, version and number of threads.
    """
    runtime = get_runtime(runtime_name)
    header = new_header(runtime, threads, constants={})
    table = _table_for(header, tables)
    if table is None:
        raise TableError(
            f"{tables} has no latency table for this device, {runtime.name} {runtime.version} and {threads} threads; "
            f"run `autocompress profile --runtime {runtime.name} --threads {threads}` or leave this setting out"
        )
    folder = predictors / table.stem
    if not folder.is_dir():
        raise TableError(f"{predictors} has no predictors for {table.name}; run `autocompress predictor train`")
    return Setting(runtime, threads, table, folder)


def _table_for(header: TableHeader, folder: Path) -> Path | None:
    for path in tables_in(folder):
        if not header_differences(header, read_header(path)):
            return path
    return None

"""From a runtime and a device to an estimator: finds the table and the predictors, profiles what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from autocompress.errors import TableError
from autocompress.latency.elsewhere import predictors_of_table
from autocompress.latency.estimator import LatencyEstimator
from autocompress.latency.header import TableHeader, header_differences
from autocompress.latency.journal import TableFile
from autocompress.latency.locate import (
    LocatedTable,
    cached_table_path,
    forced_table,
    other_predictors,
    own_predictors_folder,
    shipped_predictors_folder,
    shipped_table,
)
from autocompress.latency.predictor import Predictors, load_predictors, table_hash
from autocompress.latency.profile import ProfileOutcome, new_header, profile_model, profile_ops, with_constants
from autocompress.latency.roofline import Roofline
from autocompress.latency.table import LatencyTable
from autocompress.progress import NullProgress, Progress
from autocompress.runtimes.protocol import ExecutedOp, Feeds, InPlaceRuntime, Runtime


@dataclass
class LatencySource:
    """Everything that is known about latency for one device, runtime and thread count.

    Attributes:
        runtime: what executes models.
        threads: intra-op threads.
        header: what the device, runtime and thread count are that everything here is about.
        base: the table that ships or was forced; None if there is none.
        file: the user's own table, which operators are profiled into.
        predictors: forests; None if there are none.
        foreign: whether the forests were trained for another device, version or thread count.
        notices: sentences about what does not fit.
        elsewhere: whether all this is about another device (or version, or thread count) than this one, so that nothing
            that is timed here says anything about it.
    """

    runtime: Runtime
    threads: int
    header: TableHeader
    base: LocatedTable | None
    file: TableFile
    predictors: Predictors | None
    foreign: bool
    notices: tuple[str, ...]
    elsewhere: bool = False

    def profile(
        self, model: bytes | str, feeds: Feeds, *, budget_s: float | None = None, progress: Progress | None = None
    ) -> ProfileOutcome:
        """Measures the operators of a model that no table has, on this device, into the user's own table.

        Raises:
            RuntimeFailure: when the runtime refuses the model.
            TableError: when the user's table is damaged.
            StorageError: when it cannot be written.
        """
        return profile_model(
            self.runtime,
            model,
            feeds,
            self.file,
            known=self.base.table if self.base else None,
            threads=self.threads,
            budget_s=budget_s,
            progress=progress,
        )

    def profile_unknown(
        self, model: bytes | str, feeds: Feeds, unknown: Iterable[ExecutedOp], *, budget_s: float | None = None
    ) -> ProfileOutcome | None:
        """Times on the spot the operators of a model that neither table nor forest knows.

        Args:
            model: serialized model, or a path.
            feeds: one array per input.
            unknown: those operators; a runtime that times in place times the others that no table has with them.
            budget_s: wall seconds after which nothing further is begun; None for no limit.

        Returns:
            None where there is nothing to time, or where all this is about another device.

        Raises:
            RuntimeFailure: when the runtime refuses the model.
            TableError: when the user's table is damaged.
            StorageError: when it cannot be written.
        """
        keys = {op.signature.key for op in unknown}
        if self.elsewhere or not keys:
            return None
        if isinstance(self.runtime, InPlaceRuntime):
            return self.profile(model, feeds, budget_s=budget_s)
        executed = self.runtime.executed_ops(model, feeds, threads=self.threads)
        wanted = [op for op in executed if op.signature.key in keys]
        return profile_ops(self.runtime, wanted, self.file, threads=self.threads, budget_s=budget_s)

    def missing(self, ops: Iterable[ExecutedOp]) -> int:
        """How many distinct operators no table has."""
        table = self.table()
        return len({op.signature.key for op in ops if table.find(op.signature) is None})

    def table(self) -> LatencyTable:
        """The base table with the user's own records added; the user's count where both have one.

        A table of another device stands alone.
        """
        if self.base is not None and self.elsewhere:
            return self.base.table
        own = self.file.load()
        if self.base is None:
            return own
        joined = LatencyTable(self.base.table.header, self.base.table)
        for record in own:
            if record.valid:
                joined.add(record)
        return joined

    def estimator(self) -> LatencyEstimator:
        """An estimator that knows everything measured so far."""
        table = self.table()
        if self.predictors is None or not self.foreign:
            return LatencyEstimator(table, self.predictors)
        constants = table.header.constants or self.header.constants
        return LatencyEstimator(table, self.predictors.transferred(Roofline.from_constants(constants), table))


def open_latency(
    runtime: Runtime,
    *,
    threads: int = 1,
    table: str | Path | None = None,
    own_table: str | Path | None = None,
    progress: Progress | None = None,
) -> LatencySource:
    """Finds what is known about latency here.

    Args:
        runtime: what executes models.
        threads: intra-op threads.
        table: a table to use whatever it is about; if it is not about this device, then everything is about its device.
        own_table: where to keep records measured now; in the user's cache when left out.
        progress: told the notices.

    Raises:
        TableError: when a table or predictor is damaged, or the table is of another runtime.
    """
    header = new_header(runtime, threads)
    base = forced_table(table, header) if table is not None else shipped_table(header)
    if base is not None and base.notices:
        return _open_elsewhere(runtime, threads, base, progress or NullProgress())
    path = Path(own_table) if own_table is not None else cached_table_path(header)
    notices = list(base.notices) if base else []
    trained_on = base.path if base else None
    predictors = _predictors(base.table.header if base else header, trained_on, path, notices)
    foreign = False
    if predictors is None:
        predictors = _foreign_predictors(base.table.header if base else header, notices)
        foreign = predictors is not None
    progress = progress or NullProgress()
    header = _with_constants(runtime, header, base, path, progress)
    for notice in notices:
        progress.notice(notice)
    return LatencySource(
        runtime, threads, header, base, TableFile(path, header, progress.notice), predictors, foreign, tuple(notices)
    )


def _open_elsewhere(runtime: Runtime, threads: int, base: LocatedTable, progress: Progress) -> LatencySource:
    """What is known about the device of a table that is not about this one; nothing is measured here.

    Raises:
        TableError: when the table is of another runtime, whose operators are others.
    """
    header = base.table.header
    if header.runtime != runtime.name:
        raise TableError(
            f"latency table {base.path.name} is about {header.runtime}, and {runtime.name} was asked for; "
            f"give --runtime {header.runtime}, or another table"
        )
    found = predictors_of_table(base, progress)
    differences = header_differences(new_header(runtime, threads), header)
    about = (
        f"latency table {base.path.name} is not about this machine ({'; '.join(differences)}): latencies are estimated "
        f"for {header.device.name}, and nothing is timed here"
    )
    notices = (about, *found.notices)
    for notice in notices:
        progress.notice(notice)
    file = TableFile(cached_table_path(header), header, progress.notice)
    return LatencySource(
        runtime, header.threads, header, base, file, found.predictors, found.foreign, notices, elsewhere=True
    )


def _with_constants(
    runtime: Runtime, header: TableHeader, base: LocatedTable | None, path: Path, progress: Progress
) -> TableHeader:
    """The header of the user's own table, with its constants; measures them only for a device nobody has profiled.

    Beside a table that ships they are left out until something is measured: this machine has a speed of its own, which
    it is recognized by later.
    """
    if path.is_file():
        own = TableFile(path, header, progress.notice).load().header  # a damaged one is set aside, with a notice
        if own.constants:
            return new_header(runtime, header.threads, constants=own.constants)
    return header if base is not None and base.table.header.constants else with_constants(runtime, header)


def _predictors(header: TableHeader, trained_on: Path | None, own: Path, notices: list[str]) -> Predictors | None:
    """The user's own forests before those that ship; what does not fit becomes a notice, since tables go on alone."""
    try:
        folder = own_predictors_folder(header)
        if folder is not None:
            predictors = load_predictors(folder)
            if own.is_file() and predictors.card["table_sha256"] != table_hash(own):
                notices.append(f"{own.name} has changed since its predictors were trained; train them again to use all")
            return predictors
        folder = shipped_predictors_folder(header)
        if folder is not None:
            return load_predictors(folder, trained_on)
    except TableError as error:
        notices.append(str(error))
    return None


def _foreign_predictors(header: TableHeader, notices: list[str]) -> Predictors | None:
    """Forests of another device, for want of ones for this; those of another state of this very table before them."""
    folders = other_predictors(header.runtime)
    for folder in sorted(folders, key=lambda folder: (folder.name == header.stem, folder.name), reverse=True):
        try:
            predictors = load_predictors(folder)
        except TableError as error:
            notices.append(str(error))
            continue
        whose = (
            f"predictors {folder.name} know another state of the table; they"
            if folder.name == header.stem
            else f"no predictors were trained for this device; those in {folder.name}"
        )
        notices.append(f"{whose} are used, corrected by what is measured here, and their intervals are wide")
        return predictors
    notices.append(
        f"there are no predictors for {header.runtime}: operators that no table has are priced by a bound only"
    )
    return None

"""Keeps everything the moment it was measured, whatever happens next.

Lines are appended to ``<table>.journal``, flushed to disk one by one: a header like the table's, then operators and
whole models as they stand in tables, in the order of measuring; of several lines about one, the last counts.  Opening a
table takes in its journal; ``compact`` folds it into the table.  A lock file makes both safe while another process
profiles into the same table; the journal is also held for itself, so that nothing is lost if the lock file is deleted
by somebody while it is held.  A table that turns out to be damaged is set aside, never thrown away (``set_aside.py``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from autocompress.errors import StorageError, TableError
from autocompress.files import remove_remains
from autocompress.latency.composition import ObservedModel
from autocompress.latency.header import TableHeader, mixing_differences
from autocompress.latency.journal_lines import append_line, journal_header, journal_path, read_journal
from autocompress.latency.lock import held, locked
from autocompress.latency.reading import models_beside, read_table
from autocompress.latency.record import LatencyRecord
from autocompress.latency.set_aside import rescued, set_aside
from autocompress.latency.table import LatencyTable
from autocompress.latency.whole_models import model_line

Notice = Callable[[str], None]


class TableFile:
    """A table on disk that can be profiled into.

    Args:
        path: the table's file, or a link to it; need not exist.
        header: what it is about; must agree with the file where there is one.
        notice: told, in one sentence, what was dropped or set aside.

    Attributes:
        path: as given.
    """

    def __init__(self, path: str | Path, header: TableHeader, notice: Notice = lambda sentence: None) -> None:
        self.path = Path(path)
        # Whoever comes through a link shares journal and lock with whoever comes by the file's own name.
        self._file = Path(os.path.realpath(self.path))
        self._journal = journal_path(self._file)
        self._header = header
        self._notice = notice

    def about(self, header: TableHeader) -> TableFile:
        """The same place with another header, for a table that is not there yet."""
        return TableFile(self.path, header, self._notice)

    def load(self) -> LatencyTable:
        """The table with its journal; nothing is made where nothing is.

        Raises:
            TableError: when the file cannot be read, or is about another device, runtime or thread count.
        """
        if not self._file.exists() and not self._journal.exists():
            return LatencyTable(self._header)
        with locked(self._file, reading_is_enough=True):
            return self._read()

    def append(self, record: LatencyRecord) -> None:
        """Puts one record on disk at once.

        Raises:
            StorageError: when the place cannot be written.
            ValueError: when the record's times cannot be.
        """
        record.check()
        self._append(record.to_line())

    def append_model(self, name: str, model: ObservedModel) -> None:
        """Puts one whole model on disk at once.

        Raises:
            StorageError: when the place cannot be written.
        """
        self._append(model_line(name, model))

    def compact(self) -> LatencyTable:
        """Folds the journal into the table and returns it.

        Raises:
            TableError: when the file cannot be read, or is about something else; the journal stays.
            StorageError: when the place cannot be written; the journal stays.
        """
        return self.rewrite(None)

    def rewrite(self, change: Callable[[LatencyTable], LatencyTable] | None) -> LatencyTable:
        """Replaces the table by what ``change`` makes of it and its journal, while nobody else can write.

        Args:
            change: None to fold in the journal and no more.

        Raises:
            TableError: as ``compact``.
            StorageError: as ``compact``.
        """
        with locked(self._file), held(self._journal) if self._journal.exists() else nullcontext():
            table = self._read()
            if change is None and not self._journal.exists():
                return table
            table = table if change is None else change(table)
            remove_remains(self._file)
            taken_in = [self._journal, *models_beside(self._file)]
            table.save(self._file)
            for file in taken_in:
                file.unlink(missing_ok=True)
            return table

    def _append(self, line: str) -> None:
        with locked(self._file):
            if not self._file.exists():
                LatencyTable(self._header).save(self._file)
            try:
                self._set_foreign_journal_aside()
                append_line(self._journal, line, self._header)
            except OSError as error:
                raise StorageError(f"cannot write {self._journal.name}: {error.strerror or error}") from error

    def _read(self) -> LatencyTable:
        table = self._stored()
        if not table.header.constants:
            table.header = replace(table.header, constants=self._header.constants)
        with suppress(OSError):  # in a folder that is only read
            self._set_foreign_journal_aside()
        journal = read_journal(self._journal)
        if journal.header is None or not mixing_differences(self._header, journal.header):
            journal.fold_into(table)
            for sentence in journal.dropped:
                self._notice(sentence)
        return table

    def _set_foreign_journal_aside(self) -> None:
        """A table that was replaced while in use leaves a journal that is not about the new one."""
        header = journal_header(self._journal)
        differences = [] if header is None else mixing_differences(self._header, header)
        if differences:
            aside = set_aside(self._journal)
            self._journal.unlink()
            about = "; ".join(differences)
            self._notice(f"{self._journal.name} is about another table ({about}) and was kept as {aside.name}")

    def _stored(self) -> LatencyTable:
        if not self._file.exists():
            return LatencyTable(self._header)
        reading = read_table(self._file)
        if reading.header is not None:
            differences = mixing_differences(self._header, reading.header)
            if differences:
                kept = f"; what was measured is kept in {self._journal.name}" if self._journal.exists() else ""
                raise TableError(f"{self.path.name} cannot be profiled into: {'; '.join(differences)}{kept}")
        if reading.faults:
            return rescued(reading, self._header, self._notice)
        assert reading.header is not None
        return LatencyTable(reading.header, reading.records.values(), reading.models)


def load_with_journal(path: str | Path) -> tuple[LatencyTable, int]:
    """A table with what its journal adds, for looking at: nothing is locked, written or set aside.

    Returns:
        The table, and how many lines of the journal are in it.

    Raises:
        TableError: when the table is damaged.
    """
    file = Path(os.path.realpath(path))
    # The journal first: a profile that folds it in meanwhile has put it into the table by then.
    journal = read_journal(journal_path(file))
    table = LatencyTable.load(path)
    if journal.header is not None and mixing_differences(table.header, journal.header):
        return table, 0
    journal.fold_into(table)
    return table, journal.entries

"""Keeps every record the moment it was measured, whatever happens next.

Records are appended to ``<table>.journal``, one JSON line each, flushed to disk one by one.  Opening a table takes in
its journal; ``compact`` folds it into the table.  A lock file makes both safe while another process profiles into the
same table.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from autocompress.errors import StorageError, TableError
from autocompress.latency.record import LatencyRecord
from autocompress.latency.table import LatencyTable, TableHeader, header_differences, record_of_line


class TableFile:
    """A table on disk that can be profiled into.

    Args:
        path: the table's file; need not exist.
        header: what it is about; must agree with the file where there is one.
        notice: told, in one sentence, what was dropped.
    """

    def __init__(
        self, path: str | Path, header: TableHeader, notice: Callable[[str], None] = lambda sentence: None
    ) -> None:
        self.path = Path(path)
        self._journal = self.path.with_name(self.path.name + ".journal")
        self._lock = self.path.with_name(self.path.name + ".lock")
        self._header = header
        self._notice = notice

    def load(self) -> LatencyTable:
        """The table with its journal.

        Raises:
            TableError: when the file is damaged, or about another device, runtime or thread count.
        """
        with self._locked():
            return self._read()

    def append(self, record: LatencyRecord) -> None:
        """Puts one record on disk at once.

        Raises:
            StorageError: when the place cannot be written.
            ValueError: when the record's times cannot be.
        """
        record.check()
        with self._locked():
            if not self.path.exists():
                LatencyTable(self._header).save(self.path)
            try:
                with self._journal.open("ab") as file:
                    if file.tell() and not self._ends_with_line_break():
                        file.write(b"\n")  # a process died while writing; its half line stands alone
                    file.write(record.to_line().encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise StorageError(f"cannot write {self._journal.name}: {error.strerror or error}") from error

    def compact(self) -> LatencyTable:
        """Folds the journal into the table and returns it."""
        with self._locked():
            table = self._read()
            if self._journal.exists():
                table.save(self.path)
                self._journal.unlink()
            return table

    def _read(self) -> LatencyTable:
        table = LatencyTable(self._header)
        if self.path.exists():
            table = LatencyTable.load(self.path)
            differences = header_differences(self._header, table.header)
            if differences:
                raise TableError(f"{self.path.name} cannot be profiled into: {'; '.join(differences)}")
            if not table.header.constants:
                table.header = replace(table.header, constants=self._header.constants)
        for record in self._journalled():
            table.add(record)
        return table

    def _journalled(self) -> Iterator[LatencyRecord]:
        if not self._journal.exists():
            return
        for number, line in enumerate(self._journal.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            try:
                yield record_of_line(line, f"{self._journal.name} line {number}")
            except TableError:
                # Only a killed process leaves such a line; one operator is measured again.
                self._notice(f"{self._journal.name} line {number} is cut short and was dropped")

    def _ends_with_line_break(self) -> bool:
        with self._journal.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise StorageError(f"cannot write {self.path.parent}: {error.strerror or error}") from error

"""The journal of a table: what was measured and is not folded into the table yet."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from autocompress.latency.composition import ObservedModel
from autocompress.latency.header import TableHeader, is_header, refuse_newer
from autocompress.latency.lock import held
from autocompress.latency.reading import lines_of
from autocompress.latency.record import LatencyRecord, better
from autocompress.latency.row import parse_row
from autocompress.latency.table import LatencyTable
from autocompress.latency.whole_models import model_of_row


@dataclass
class JournalReading:
    """What a journal holds.

    Attributes:
        header: of its first line; None in an empty journal and in those of schema 1, which had none.
        records: in the order of measuring.
        models: whole models and their names, in the order of measuring.
        dropped: sentences about lines that cannot be read.
    """

    header: TableHeader | None = None
    records: list[LatencyRecord] = field(default_factory=list)
    models: list[tuple[str, ObservedModel]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    @property
    def entries(self) -> int:
        """Readable lines, the header not counted."""
        return len(self.records) + len(self.models)

    def fold_into(self, table: LatencyTable) -> None:
        """Adds everything; of two records of one operator the better counts, of two observed models the last."""
        for record in self.records:
            table.add(better(table.record(record.signature) or record, record))
        for name, model in self.models:
            table.add_model(name, model)


def journal_path(table: Path) -> Path:
    """Where the journal of a table is."""
    return table.with_name(f"{table.name}.journal")


def journal_header(path: Path) -> TableHeader | None:
    """The header of a journal; None without one.

    Raises:
        TableError: when a newer version wrote it.
        OSError: when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            row = parse_row(file.readline())
    except FileNotFoundError:
        return None
    if row is None or not is_header(row):
        return None
    refuse_newer(row, path.name)
    try:
        return TableHeader.from_row(row)
    except ValueError:
        return None


def read_journal(path: Path) -> JournalReading:
    """Reads a journal; one that does not exist is empty.

    Raises:
        TableError: when it cannot be read, or a newer version wrote it.
    """
    reading = JournalReading()
    if not path.exists():
        return reading
    for number, line in enumerate(lines_of(path), 1):
        row = parse_row(line)
        try:
            if row is None:
                raise ValueError("is cut short")  # only a killed process leaves such a line
            if is_header(row):
                refuse_newer(row, path.name)
                reading.header = reading.header or TableHeader.from_row(row)
            elif "model" in row:
                reading.models.append(model_of_row(row))
            else:
                reading.records.append(LatencyRecord.from_row(row))
        except ValueError as error:
            reason = str(error) if row is None else f"is wrong ({error})"
            reading.dropped.append(f"{path.name} line {number} {reason} and was dropped: it is measured again")
    return reading


def append_line(path: Path, line: str, header: TableHeader) -> None:
    """Puts one line on disk at once; a new journal gets a header first.

    Raises:
        OSError: when the disk is full or the place cannot be written; the journal stays as it was.
    """
    with held(path) as file:
        before = os.fstat(file.fileno()).st_size
        start = f"{header.to_line()}\n" if not before else "" if _ends_with_line_break(path) else "\n"
        try:
            left = memoryview(f"{start}{line}\n".encode())
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(before)
            raise


def _ends_with_line_break(path: Path) -> bool:
    """False after a process died while writing; its half line then stands alone."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"

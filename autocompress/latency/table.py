"""The latency table: what each operator takes on one device, runtime, runtime version and thread count.

A table is a text file of JSON lines: one header, then one record per line, sorted by key.  It is replaced as a whole
and atomically; while operators are being profiled, records are appended to a journal beside it (``journal.py``).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autocompress.errors import StorageError, TableError
from autocompress.graph.signature import OpSignature
from autocompress.latency.device import Device
from autocompress.latency.record import LatencyRecord

FORMAT = "autocompress latency table"
SCHEMA = 1


@dataclass(frozen=True)
class TableHeader:
    """Where the records of a table come from.

    Attributes:
        device: the hardware.
        runtime: the runtime's name.
        runtime_version: its version.
        threads: intra-op threads.
        clock: "cpu", "wall" or "replay".
        date: ISO date of the first record.
        command: what produced the table.
        constants: roofline constants of the device (see ``roofline.py``); may be empty.
    """

    device: Device
    runtime: str
    runtime_version: str
    threads: int
    clock: str
    date: str
    command: str
    constants: Mapping[str, float] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """File name without ending that such a table has."""
        return f"{self.device.slug}-{self.runtime}-{self.runtime_version}-t{self.threads}"

    def to_line(self) -> str:
        """One line of JSON, without the line break."""
        row = {
            "format": FORMAT,
            "schema": SCHEMA,
            "device": self.device.to_dict(),
            "runtime": self.runtime,
            "runtime_version": self.runtime_version,
            "threads": self.threads,
            "clock": self.clock,
            "date": self.date,
            "command": self.command,
            "constants": dict(self.constants),
        }
        return json.dumps(row, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str, where: str) -> TableHeader:
        """Inverse of ``to_line``.

        Raises:
            TableError: when the line is no header, or one of a newer schema.
        """
        row = _json_object(line)
        if row is None or row.get("format") != FORMAT:
            raise TableError(f"{where} is not a latency table: its first line is no header")
        schema = row.get("schema")
        if not isinstance(schema, int) or schema > SCHEMA:
            raise TableError(
                f"{where} has schema {schema}, newer than {SCHEMA}, which this version reads; update autocompress"
            )
        try:
            return cls(
                device=Device.from_dict(row["device"]),
                runtime=str(row["runtime"]),
                runtime_version=str(row["runtime_version"]),
                threads=int(row["threads"]),
                clock=str(row["clock"]),
                date=str(row["date"]),
                command=str(row["command"]),
                constants={str(k): float(v) for k, v in row["constants"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableError(f"{where} has a malformed header ({error!r}); profile again") from error


class LatencyTable:
    """Records by signature.

    Attributes:
        header: where they come from.
    """

    def __init__(self, header: TableHeader, records: Iterable[LatencyRecord] = ()) -> None:
        self.header = header
        self._records = {record.signature.key: record for record in records}

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[LatencyRecord]:
        return iter(self._records.values())

    def __contains__(self, signature: OpSignature) -> bool:
        return signature.key in self._records

    def find(self, signature: OpSignature) -> LatencyRecord | None:
        """The valid record of an operator, or None."""
        record = self._records.get(signature.key)
        return record if record is not None and record.valid else None

    def add(self, record: LatencyRecord) -> None:
        """Adds or replaces a record.

        Raises:
            ValueError: when its times cannot be.
        """
        record.check()
        self._records[record.signature.key] = record

    def merged(self, other: LatencyTable) -> LatencyTable:
        """This table with the records of ``other`` added; where both have one, the other's counts if it is valid.

        Raises:
            TableError: when the two tables are about different devices, runtimes or thread counts.
        """
        differences = header_differences(self.header, other.header)
        if differences:
            raise TableError(f"tables cannot be merged: {'; '.join(differences)}")
        merged = LatencyTable(self.header, self)
        for record in other:
            if record.valid or record.signature not in merged:
                merged.add(record)
        if not self.header.constants:
            merged.header = replace(self.header, constants=other.header.constants)
        return merged

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Reads and checks a table.

        Raises:
            TableError: saying which line is wrong and why.
        """
        path = Path(path)
        lines = _lines_of(path)
        if not lines:
            raise TableError(f"{path.name} is empty; delete it or profile again")
        table = cls(TableHeader.from_line(lines[0], path.name))
        for number, line in enumerate(lines[1:], start=2):
            record = record_of_line(line, f"{path.name} line {number}")
            if record.signature in table:
                raise TableError(f"{path.name} line {number} repeats the key {record.signature.key}; keep one of them")
            table.add(record)
        return table

    def save(self, path: str | Path) -> None:
        """Writes the table atomically, records sorted by key.

        Raises:
            StorageError: when the place cannot be written.
        """
        path = Path(path)
        text = "".join(f"{line}\n" for line in self._text_lines())
        write_atomically(path, text)

    def _text_lines(self) -> Iterator[str]:
        yield self.header.to_line()
        for key in sorted(self._records):
            yield self._records[key].to_line()


def header_differences(ours: TableHeader, theirs: TableHeader) -> list[str]:
    """Why records of one table are not true for the other, as short phrases; empty where they are."""
    pairs = (
        ("device", ours.device.fingerprint, theirs.device.fingerprint),
        ("runtime", ours.runtime, theirs.runtime),
        ("runtime version", ours.runtime_version, theirs.runtime_version),
        ("threads", ours.threads, theirs.threads),
    )
    return [f"{name} is {a} here and {b} there" for name, a, b in pairs if a != b]


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file as a whole.

    Raises:
        StorageError: when the place cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path.name} in {path.parent}: {error.strerror or error}") from error


def _lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"cannot read the latency table {path.name}: {error}") from error


def record_of_line(line: str, where: str) -> LatencyRecord:
    """Reads one record.

    Raises:
        TableError: saying what is wrong with the line.
    """
    row = _json_object(line)
    if row is None:
        raise TableError(f"{where} is not JSON; the file is truncated or was edited: remove the line or profile again")
    try:
        return LatencyRecord.from_row(row)
    except ValueError as error:
        raise TableError(f"{where} is wrong: {error}; remove the line or profile again") from error


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None

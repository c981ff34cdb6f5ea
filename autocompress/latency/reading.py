"""Reads the lines of a latency table and names every fault in them.

What is readable is kept whatever stands around it, so that a damaged table can be judged (``table validate``) and a
user's own one saved.  Whoever needs a sound table asks for ``faults``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autocompress.errors import TableError
from autocompress.latency.composition import ObservedModel
from autocompress.latency.header import TableHeader, is_header, mixing_differences, refuse_newer
from autocompress.latency.record import LatencyRecord, better
from autocompress.latency.row import count, parse_row
from autocompress.latency.whole_models import better_model, model_of_row

END_LINE = '{"end":true}'
_FIRST_SCHEMA_WITH_END = 2
_MODELS_SUFFIX = ".models.jsonl"  # where tables of schema 1 kept the whole models


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a table.

    Attributes:
        file: name of the file.
        line: number of the line, from 1; None when it is about the file as a whole.
        reason: what is wrong, to be read after the place.
    """

    file: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file} line {self.line}"
        return f"{where} {self.reason}"


@dataclass
class Reading:
    """What a table's file holds.

    Attributes:
        path: the file.
        schema: of its header; None without one.
        header: None when it is missing or malformed.
        records: by key.
        models: by name.
        faults: in the order of lines; empty for a sound table.
    """

    path: Path
    schema: int | None = None
    header: TableHeader | None = None
    records: dict[str, LatencyRecord] = field(default_factory=dict)
    models: dict[str, ObservedModel] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_table(self) -> bool:
        """Whether anything in it belongs to a latency table."""
        return bool(self.header or self.records or self.models)


def read_table(path: str | Path) -> Reading:
    """Reads a table of any schema up to this version's; whole models that one of schema 1 has beside it, too.

    Raises:
        TableError: when the file cannot be read at all, or its schema is newer.
    """
    path = Path(path)
    reader = _Reader(path)
    reader.read(lines_of(path))
    if (reader.reading.schema or 1) < _FIRST_SCHEMA_WITH_END:
        reader.read_models_beside(models_path(path))
    return reader.reading


def lines_of(path: Path) -> list[bytes]:
    """The lines of a file, without line breaks.

    Raises:
        TableError: when it cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TableError(f"cannot read the latency table {path.name}: {error.strerror or error}") from error
    return lines if lines[-1] else lines[:-1]


def models_path(table: Path) -> Path:
    """Where a table of schema 1 kept the whole models observed with it."""
    return table.with_suffix(_MODELS_SUFFIX)


def models_beside(table: Path) -> list[Path]:
    """The file with the whole models of a table of schema 1, if there is one; none for other tables."""
    beside = models_path(table)
    if not beside.exists() or not table.exists():
        return []
    with table.open("rb") as file:
        row = parse_row(file.readline())
    return [beside] if row is not None and row.get("schema") == 1 else []


def is_beside_a_table(path: Path) -> bool:
    """Whether a file holds the whole models of a table of schema 1, and is no table itself."""
    return path.name.endswith(_MODELS_SUFFIX)


class _Reader:
    """Takes one line after the other."""

    def __init__(self, path: Path) -> None:
        self.reading = Reading(path)
        self._ended = False
        self._elsewhere = False  # behind the header of another device

    def read(self, lines: list[bytes]) -> None:
        name = self.reading.path.name
        if not lines:
            self._fault(None, "is empty; delete it or profile again")
        for number, line in enumerate(lines, 1):
            row = parse_row(line)
            if number == 1 and not is_header(row):
                self._fault(1, "is no header of a latency table, so nothing says where the records come from")
                if row is None:
                    continue
            if row is None:
                self._fault(
                    number, "is not JSON; the file is truncated or was edited: copy it again, or remove the line"
                )
            elif is_header(row):
                self._header(number, row, name)
            else:
                self._entry(number, row)
        if not self._ended and (self.reading.schema or 1) >= _FIRST_SCHEMA_WITH_END:
            self._fault(None, f"does not end with {END_LINE}: it was cut short; copy it again, or profile again")

    def read_models_beside(self, path: Path) -> None:
        """Takes in what a table of schema 1 kept in a second file, where the last of several observations counts."""
        if not path.exists():
            return
        lines = lines_of(path)
        for number, line in enumerate(lines, 1):
            row = parse_row(line)
            try:
                if row is None:
                    raise ValueError("it is not JSON")
                name, model = model_of_row(row)
                self.reading.models[name] = model
            except ValueError as error:
                if number < len(lines):  # a process that died while writing leaves half a line at the end
                    self.reading.faults.append(Fault(path.name, number, f"is damaged ({error}); remove it"))

    def _header(self, number: int, row: Mapping[str, Any], name: str) -> None:
        refuse_newer(row, name)
        reading = self.reading
        try:
            header, schema = TableHeader.from_row(row), count(row, "schema", 1)
        except ValueError as error:
            self._fault(number, f"is a malformed header ({error}); copy the file again, or profile again")
            self._elsewhere = number > 1
            return
        if number == 1:
            reading.header, reading.schema = header, schema
            return
        differences = [] if reading.header is None else mixing_differences(reading.header, header)
        about = f", of another table ({'; '.join(differences)})" if differences else ""
        self._fault(number, f"is a second header{about}; join tables with `autocompress table merge`")
        self._elsewhere, self._ended = bool(differences), False

    def _entry(self, number: int, row: Mapping[str, Any]) -> None:
        if self._ended:
            self._fault(number, "stands behind the end of the table; remove it, or copy the file again")
        try:
            if "key" in row:
                self._record(number, LatencyRecord.from_row(row))
            elif "model" in row:
                self._model(number, *model_of_row(row))
            elif row.get("end") is True:
                self._ended = True
            elif number > 1:
                raise ValueError("it is neither an operator nor a model")
        except ValueError as error:
            self._fault(number, f"is wrong: {error}; remove the line, or profile again")

    def _record(self, number: int, record: LatencyRecord) -> None:
        key, records = record.signature.key, self.reading.records
        if self._elsewhere:
            return
        if key in records:
            self._fault(number, f"repeats the key {key}; keep one of them")
        records[key] = better(records.get(key, record), record)

    def _model(self, number: int, name: str, model: ObservedModel) -> None:
        models = self.reading.models
        if self._elsewhere:
            return
        if name in models:
            self._fault(number, f"repeats the model {name!r}; keep one of them")
        models[name] = better_model(models.get(name, model), model)

    def _fault(self, line: int | None, reason: str) -> None:
        self.reading.faults.append(Fault(self.reading.path.name, line, reason))

"""The first line of a latency table: where its records come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autocompress.errors import TableError
from autocompress.latency import row as fields
from autocompress.latency.device import Device

FORMAT = "autocompress latency table"
SCHEMA = 2
CLOCKS = ("cpu", "wall", "replay")
SLOPE, IN_PLACE = "slope", "in place"
METHODS = (SLOPE, IN_PLACE)


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
        method: how operators were timed: "slope" over copies of each alone, or "in place" within whole models.
    """

    device: Device
    runtime: str
    runtime_version: str
    threads: int
    clock: str
    date: str
    command: str
    constants: Mapping[str, float] = field(default_factory=dict)
    method: str = SLOPE

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
            "method": self.method,
            "date": self.date,
            "command": self.command,
            "constants": dict(self.constants),
        }
        return json.dumps(row, separators=(",", ":"))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> TableHeader:
        """Inverse of ``to_line``.

        Raises:
            ValueError: saying what is wrong with the row.
        """
        constants = fields.amounts(row, "constants")
        if not all(constants.values()):
            raise ValueError("a constant is zero")
        try:
            device = Device.from_dict(fields.mapping(row, "device"))
        except TableError as error:
            raise ValueError(str(error)) from error
        return cls(
            device=device,
            runtime=fields.text(row, "runtime"),
            runtime_version=fields.text(row, "runtime_version"),
            threads=fields.count(row, "threads", 1),
            clock=_one_of(CLOCKS, "clock", fields.text(row, "clock")),
            date=fields.text(row, "date"),
            command=fields.text(row, "command"),
            constants=constants,
            method=_one_of(METHODS, "method", fields.text({"method": SLOPE, **row}, "method")),
        )


def is_header(row: Mapping[str, Any] | None) -> bool:
    """Whether a line is the header of a table, of whatever schema."""
    return row is not None and row.get("format") == FORMAT


def refuse_newer(row: Mapping[str, Any], name: str) -> None:
    """Refuses a header that a newer version wrote.

    Raises:
        TableError: when its schema is newer than this version's.
    """
    schema = row.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise TableError(
            f"{name} has schema {schema}, newer than {SCHEMA}, which this version reads; update autocompress"
        )


def header_differences(ours: TableHeader, theirs: TableHeader) -> list[str]:
    """Why records of one table are not true for the other, as short phrases; empty where they are."""
    return _differences(
        ("device", ours.device.fingerprint, theirs.device.fingerprint),
        ("runtime", ours.runtime, theirs.runtime),
        ("runtime version", ours.runtime_version, theirs.runtime_version),
        ("threads", ours.threads, theirs.threads),
    )


def mixing_differences(ours: TableHeader, theirs: TableHeader) -> list[str]:
    """Why records of both must not stand in one table, as short phrases; empty where they may."""
    return header_differences(ours, theirs) + _differences(
        ("clock", ours.clock, theirs.clock), ("method", ours.method, theirs.method)
    )


def _differences(*pairs: tuple[str, object, object]) -> list[str]:
    return [f"{name} is {a} here and {b} there" for name, a, b in pairs if a != b]


def _one_of(allowed: tuple[str, ...], name: str, value: str) -> str:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
    return value

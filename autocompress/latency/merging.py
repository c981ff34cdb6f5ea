"""Several tables of one device, runtime, version and thread count become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from autocompress.errors import ConfigError, TableError
from autocompress.latency.composition import ObservedModel
from autocompress.latency.header import mixing_differences
from autocompress.latency.record import LatencyRecord, better
from autocompress.latency.table import LatencyTable
from autocompress.latency.whole_models import better_model

_Entry = TypeVar("_Entry")
_Choice = Callable[[LatencyRecord, LatencyRecord], LatencyRecord]
_ModelChoice = Callable[[ObservedModel, ObservedModel], ObservedModel]


def _first(before: LatencyRecord, after: LatencyRecord) -> LatencyRecord:
    return before if before.valid or not after.valid else after


def _last(before: LatencyRecord, after: LatencyRecord) -> LatencyRecord:
    return after if after.valid or not before.valid else before


_CHOICES: Mapping[str, tuple[_Choice, _ModelChoice]] = {
    "fastest": (better, better_model),
    "first": (_first, lambda before, after: before),
    "last": (_last, lambda before, after: after),
}
PREFERENCES = tuple(_CHOICES)


@dataclass(frozen=True)
class Merged:
    """A table made of several, and what each gave.

    Attributes:
        table: the result.
        records: per table given, how many records of the result are its own.
        models: per table given, how many whole models of the result are its own.
        repeated: operators that more than one table has.
    """

    table: LatencyTable
    records: tuple[int, ...]
    models: tuple[int, ...]
    repeated: int


def merge(tables: Sequence[tuple[str, LatencyTable]], *, prefer: str = "fastest", command: str | None = None) -> Merged:
    """Joins tables.

    Args:
        tables: names, for messages, and tables; at least one.
        prefer: which of two records of one operator counts: the "fastest", that of the "first" table, or of the
            "last".  A valid record always counts before an invalid one.
        command: goes into the result's header; that of the first table when left out.

    Raises:
        TableError: when their records must not stand in one table, saying what differs.
        ConfigError: when the preference is unknown.
    """
    if prefer not in _CHOICES:
        raise ConfigError(f"--prefer {prefer!r} is unknown; choose one of {', '.join(PREFERENCES)}")
    (name, first), others = tables[0], tables[1:]
    for other, table in others:
        differences = mixing_differences(first.header, table.header)
        if differences:
            raise TableError(f"{other} cannot be merged into {name}: {'; '.join(differences)}")
    choose, choose_model = _CHOICES[prefer]
    records, repeated = _chosen([{r.signature.key: r for r in table} for _, table in tables], choose)
    models, _ = _chosen([dict(table.models) for _, table in tables], choose_model)
    header = replace(
        first.header,
        date=min(table.header.date for _, table in tables),
        command=first.header.command if command is None else command,
        constants=next((table.header.constants for _, table in tables if table.header.constants), {}),
    )
    joined = LatencyTable(header, (r for r, _ in records.values()), {name: m for name, (m, _) in models.items()})
    sources = [source for _, source in records.values()]
    model_sources = [source for _, source in models.values()]
    return Merged(
        joined,
        tuple(sources.count(i) for i in range(len(tables))),
        tuple(model_sources.count(i) for i in range(len(tables))),
        repeated,
    )


def _chosen(
    parts: Sequence[Mapping[str, _Entry]], choose: Callable[[_Entry, _Entry], _Entry]
) -> tuple[dict[str, tuple[_Entry, int]], int]:
    """Per key the entry that counts and the number of its part; and how many keys stand in more than one part."""
    found: dict[str, tuple[_Entry, int]] = {}
    repeated = set()
    for number, part in enumerate(parts):
        for key, entry in part.items():
            if key in found:
                repeated.add(key)
                if choose(found[key][0], entry) is not entry:
                    continue
            found[key] = (entry, number)
    return found, len(repeated)

"""Reading studies back as records."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table, func, select

from autocompress.errors import StorageError
from autocompress.store.records import ROLES, OperatorRecord, Role, StudyHeader, StudyRecord
from autocompress.store.rows import (
    Row,
    candidate_record,
    event_record,
    layer_record,
    operator_record,
    study_header,
)
from autocompress.store.tables import candidates, events, layers, operators, studies

_NAMES_IN_A_MESSAGE = 5


def study_id(connection: Connection, place: object, name: str) -> int:
    """Primary key of a study.

    Raises:
        StorageError: when there is none of that name, naming those that are there.
    """
    found: int | None = connection.execute(select(studies.c.id).where(studies.c.name == name)).scalar_one_or_none()
    if found is None:
        raise StorageError(f"no study {name!r} in {place}; {_present(connection)}")
    return found


def read_header(connection: Connection, place: object, name: str) -> StudyHeader:
    """One study without its rows.

    Raises:
        StorageError: when there is none of that name.
    """
    identity = study_id(connection, place, name)
    row = connection.execute(select(studies).where(studies.c.id == identity)).mappings().one()
    count = select(func.count()).select_from(candidates).where(candidates.c.study_id == identity)
    return study_header(dict(row), connection.execute(count).scalar_one())


def read_headers(connection: Connection) -> tuple[StudyHeader, ...]:
    """All studies, the newest first."""
    per_study = select(candidates.c.study_id, func.count()).group_by(candidates.c.study_id)
    counts: dict[int, int] = {row[0]: row[1] for row in connection.execute(per_study)}
    rows = connection.execute(select(studies).order_by(studies.c.created.desc(), studies.c.id.desc())).mappings()
    return tuple(study_header(dict(row), counts.get(row["id"], 0)) for row in rows)


def read_study(connection: Connection, place: object, name: str) -> StudyRecord:
    """One study with all its rows.

    Raises:
        StorageError: when there is none of that name.
    """
    header = read_header(connection, place, name)
    identity = study_id(connection, place, name)
    return StudyRecord(
        header=header,
        candidates=tuple(map(candidate_record, _rows(connection, candidates, identity, candidates.c.trial))),
        operators={role: found for role in ROLES if (found := _operators(connection, identity, role))},
        layers=tuple(map(layer_record, _rows(connection, layers, identity, layers.c.id))),
        events=tuple(map(event_record, _rows(connection, events, identity, events.c.time, events.c.id))),
    )


def _operators(connection: Connection, identity: int, role: Role) -> tuple[OperatorRecord, ...]:
    rows = _rows(connection, operators, identity, operators.c.position)
    return tuple(operator_record(row) for row in rows if row["role"] == role)


def _rows(connection: Connection, table: Table, identity: int, *order: Any) -> list[Row]:
    query = select(table).where(table.c.study_id == identity).order_by(*order)
    return [dict(row) for row in connection.execute(query).mappings()]


def _present(connection: Connection) -> str:
    query = select(studies.c.name).order_by(studies.c.created.desc()).limit(_NAMES_IN_A_MESSAGE + 1)
    names = list(connection.execute(query).scalars())
    if not names:
        return "it holds no study yet"
    more = ", ..." if len(names) > _NAMES_IN_A_MESSAGE else ""
    return "it holds " + ", ".join(names[:_NAMES_IN_A_MESSAGE]) + more

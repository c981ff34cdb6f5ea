"""Optuna's side of the database: the study that stock Optuna opens, and its trials written in bulk."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, MetaData, Table, func, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from autocompress.errors import StorageError
from autocompress.store.connection import engine_options
from autocompress.store.faults import storage_errors
from autocompress.store.location import Location
from autocompress.store.trial_rows import DETAIL_TABLES, detail_rows, naive_utc

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

METRIC_NAMES = ("accuracy_drop", "latency_ms")
Direction = Literal["minimize", "maximize"]
DIRECTIONS: tuple[Direction, ...] = ("minimize", "minimize")

# Revisions of Optuna's schema that ``insert_trials`` was proven against; others go through Optuna's public functions.
_KNOWN_REVISIONS = frozenset({"v3.2.0.a"})

_CREATION_TRIES = 20
_COLLISION_WAIT_S = 0.1


@contextmanager
def optuna_storage(location: Location, lock_wait_s: float) -> Iterator[RDBStorage]:
    """Optuna's storage on the same database, for as long as the block runs.

    Raises:
        StorageError: when the database cannot be used, or was made by an Optuna that this one cannot read.
    """
    storage = open_optuna_storage(location, lock_wait_s)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def open_optuna_storage(location: Location, lock_wait_s: float) -> RDBStorage:
    """Optuna's storage on the same database; the caller disposes of its engine.

    Raises:
        StorageError: see ``optuna_storage``.
    """
    from optuna.storages import RDBStorage

    for left in reversed(range(_CREATION_TRIES)):
        try:
            with storage_errors(location):
                return RDBStorage(location.url_text, engine_kwargs=engine_options(location, lock_wait_s))
        except StorageError as error:
            # Optuna makes its tables in several transactions: first runs at the same time may collide there.
            if left == 0 or not _is_collision(error.__cause__):
                raise
            time.sleep(_COLLISION_WAIT_S)
        except RuntimeError as error:
            raise StorageError(
                f"{location} holds an Optuna schema that this Optuna cannot read; run 'optuna storage upgrade', "
                "or give another --storage"
            ) from error
    raise AssertionError("unreachable: the last try returns or raises")


def _is_collision(error: BaseException | None) -> bool:
    return isinstance(error, IntegrityError) or (isinstance(error, DBAPIError) and "already exists" in str(error.orig))


def create_or_load(
    storage: RDBStorage, place: object, name: str, directions: Sequence[Direction], sampler: BaseSampler | None
) -> Study:
    """The Optuna study of that name, made if it is not there.

    Raises:
        StorageError: when one with other objectives is there.
    """
    import optuna

    with storage_errors(place):
        study = optuna.create_study(
            storage=storage, study_name=name, directions=list(directions), sampler=sampler, load_if_exists=True
        )
        found = [d.name.lower() for d in study.directions]
        if found != list(directions):
            raise StorageError(
                f"study {name!r} in {place} has the objectives {found}, not {list(directions)}: it is not one of ours; "
                "give another --study"
            )
        if tuple(directions) == DIRECTIONS and study.metric_names is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # set_metric_names is marked experimental
                study.set_metric_names(list(METRIC_NAMES))
    return study


class UnknownOptunaSchemaError(Exception):
    """Optuna's tables are not those that ``insert_trials`` knows; ``add_one_by_one`` works with any."""


def delete_if_present(storage: RDBStorage, place: object, name: str) -> None:
    """Deletes the Optuna study of that name, if there is one.

    Raises:
        StorageError: when the database cannot be written to.
    """
    import optuna

    with storage_errors(place):
        if name in optuna.get_all_study_names(storage):
            optuna.delete_study(study_name=name, storage=storage)


def add_one_by_one(storage: RDBStorage, place: object, name: str, trials: Sequence[FrozenTrial]) -> list[int]:
    """Adds finished trials through Optuna's public functions; returns their numbers.

    Raises:
        StorageError: when Optuna has no study of that name.
    """
    import optuna

    with storage_errors(place):
        if name not in optuna.get_all_study_names(storage):
            raise StorageError(_missing(place, name))
        study = optuna.load_study(study_name=name, storage=storage)
        first = len(study.get_trials(deepcopy=False))
        study.add_trials(trials)
    return list(range(first, first + len(trials)))


def insert_trials(connection: Connection, place: object, name: str, trials: Sequence[FrozenTrial]) -> list[int]:
    """Writes finished trials into Optuna's tables within the caller's transaction.

    Optuna's own ``add_trial`` asks the database four times per parameter (60 ms for a trial of 100 parameters); this
    writes all rows of all trials in six statements.  Compatibility of the distributions is not checked again: the
    trials come from a study that did.

    Returns:
        Numbers of the new trials, in the order given.

    Raises:
        UnknownOptunaSchemaError: when a newer Optuna made the tables; nothing was written.
        StorageError: when Optuna has no study of that name.
    """
    tables = MetaData()
    tables.reflect(connection, only=lambda table, _: table in _TABLES)
    if not _is_known_schema(connection, tables.tables):
        raise UnknownOptunaSchemaError
    study_id = _study_id(connection, tables.tables["studies"], place, name)
    table = tables.tables["trials"]
    first = connection.execute(select(func.count()).select_from(table).where(table.c.study_id == study_id)).scalar_one()
    numbers = list(range(first, first + len(trials)))
    if not trials:
        return numbers
    rows = [
        {
            "study_id": study_id,
            "number": number,
            "state": trial.state.name,
            "datetime_start": naive_utc(trial.datetime_start),
            "datetime_complete": naive_utc(trial.datetime_complete),
        }
        for number, trial in zip(numbers, trials, strict=True)
    ]
    returning = insert(table).returning(table.c.trial_id, sort_by_parameter_order=True)
    identities = connection.execute(returning, rows).scalars().all()
    for table_name, details in detail_rows(identities, trials).items():
        if details:
            connection.execute(insert(tables.tables[table_name]), details)
    return numbers


_TABLES = frozenset(
    {
        "alembic_version",
        "studies",
        "trials",
        *DETAIL_TABLES,
    }
)


def _is_known_schema(connection: Connection, tables: Mapping[str, Table]) -> bool:
    if not tables.keys() >= _TABLES:
        return False
    revisions = connection.execute(select(tables["alembic_version"].c.version_num)).scalars().all()
    return set(revisions) <= _KNOWN_REVISIONS and bool(revisions)


def _study_id(connection: Connection, table: Table, place: object, name: str) -> int:
    # The row is locked (where the database has row locks) so that two writers cannot hand out one trial number.
    query = select(table.c.study_id).where(table.c.study_name == name).with_for_update()
    study_id: int | None = connection.execute(query).scalar_one_or_none()
    if study_id is None:
        raise StorageError(_missing(place, name))
    return study_id


def _missing(place: object, name: str) -> str:
    return f"Optuna has no study {name!r} in {place}; if it was deleted there, start a new --study"

"""Optuna's side of the database: the study that stock Optuna opens, and its trials written in bulk."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, MetaData, Table, func, insert, select
from sqlalchemy.exc import OperationalError

from autocompress.errors import StorageError
from autocompress.store.connection import engine_options
from autocompress.store.faults import storage_errors
from autocompress.store.location import Location

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

_CREATION_TRIES = 3


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
                try:
                    return RDBStorage(location.url_text, engine_kwargs=engine_options(location, lock_wait_s))
                except OperationalError as error:
                    # Optuna creates its tables without a lock: two first runs at once may meet here.
                    if left == 0 or "already exists" not in str(error):
                        raise
        except RuntimeError as error:
            raise StorageError(
                f"{location} holds an Optuna schema that this Optuna cannot read; run 'optuna storage upgrade', "
                "or give another --storage"
            ) from error
    raise AssertionError("unreachable: the last try returns or raises")


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
            "datetime_start": _naive_utc(trial.datetime_start),
            "datetime_complete": _naive_utc(trial.datetime_complete),
        }
        for number, trial in zip(numbers, trials, strict=True)
    ]
    returning = insert(table).returning(table.c.trial_id, sort_by_parameter_order=True)
    identities = connection.execute(returning, rows).scalars().all()
    for table_name, details in _detail_rows(identities, trials).items():
        if details:
            connection.execute(insert(tables.tables[table_name]), details)
    return numbers


_TABLES = frozenset(
    {
        "alembic_version",
        "studies",
        "trials",
        "trial_params",
        "trial_values",
        "trial_user_attributes",
        "trial_system_attributes",
        "trial_intermediate_values",
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


def _detail_rows(identities: Sequence[int], trials: Sequence[FrozenTrial]) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables below ``trials``, per table."""
    from optuna.distributions import distribution_to_json

    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in sorted(_TABLES) if name.startswith("trial_")}
    for trial_id, trial in zip(identities, trials, strict=True):
        for objective, value in enumerate(trial.values or ()):
            stored, kind = _stored_number(value)
            rows["trial_values"].append(
                {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}
            )
        for step, value in trial.intermediate_values.items():
            stored, kind = _stored_number(value)
            rows["trial_intermediate_values"].append(
                {
                    "trial_id": trial_id,
                    "step": step,
                    "intermediate_value": stored,
                    "intermediate_value_type": kind,
                }
            )
        for param, value in trial.params.items():
            distribution = trial.distributions[param]
            rows["trial_params"].append(
                {
                    "trial_id": trial_id,
                    "param_name": param,
                    "param_value": distribution.to_internal_repr(value),
                    "distribution_json": distribution_to_json(distribution),
                }
            )
        for table, attributes in (
            ("trial_user_attributes", trial.user_attrs),
            ("trial_system_attributes", trial.system_attrs),
        ):
            rows[table] += [
                {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()
            ]
    return rows


def _stored_number(value: float) -> tuple[float | None, str]:
    """(column value, kind) as Optuna keeps numbers: only finite ones as such."""
    if math.isnan(value):
        return None, "NAN"
    if math.isinf(value):
        return None, "INF_POS" if value > 0 else "INF_NEG"
    return value, "FINITE"


def _naive_utc(time: datetime | None) -> datetime | None:
    """Optuna's trials carry naive local times; its tables naive UTC."""
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)

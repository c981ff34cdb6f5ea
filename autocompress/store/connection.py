"""The engine: transactions that really are ones, bounded waits, and no file handle kept between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from autocompress.errors import StorageError
from autocompress.store.faults import storage_errors
from autocompress.store.location import Location

_WRITES = "autocompress_writes"


def engine_options(location: Location, lock_wait_s: float) -> dict[str, Any]:
    """Keyword arguments of ``create_engine``, for our engine and for Optuna's.

    Without a pool no SQLite handle is open between transactions, so that none is inherited by a forked worker.
    """
    if location.path is None:
        return {"pool_pre_ping": True}
    return {"poolclass": NullPool, "connect_args": {"timeout": lock_wait_s}}


def make_engine(location: Location, lock_wait_s: float) -> Engine:
    """An engine for ``location``; nothing is opened yet.

    Raises:
        StorageError: when the driver of a database server is not installed.
    """
    try:
        with storage_errors(location):
            engine = create_engine(location.url, **engine_options(location, lock_wait_s))
    except ImportError as error:
        raise StorageError(f"{location} needs the Python package {error.name!r}, which is not installed") from error
    if location.path is not None:
        event.listen(engine, "connect", _take_over_transactions)
        event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def reading(engine: Engine, place: object) -> Iterator[Connection]:
    """One consistent view of the database.

    Raises:
        StorageError: when the database cannot be read.
    """
    with storage_errors(place), engine.begin() as connection:
        yield connection


@contextmanager
def writing(engine: Engine, place: object) -> Iterator[Connection]:
    """One transaction: everything written inside is kept, or nothing.

    Raises:
        StorageError: when the database is locked for too long, read-only, full or damaged.
    """
    with storage_errors(place), engine.execution_options(**{_WRITES: True}).begin() as connection:
        yield connection


def _take_over_transactions(dbapi_connection: Any, _record: object) -> None:
    # Python's sqlite3 opens no transaction before DDL; ``_begin`` opens all of them instead.
    dbapi_connection.isolation_level = None


def _begin(connection: Connection) -> None:
    # A writer takes its lock at once: a reader that turns writer half-way cannot wait for the lock, only fail.
    immediate = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

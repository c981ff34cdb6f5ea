"""Brings a database to the current schema; each step and its record in one transaction.

A new database gets the tables of ``tables.py`` at once.  An older one goes through the steps that it lacks, in order.
A newer one is refused: only the version of autocompress that made it knows what its columns mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, delete, false, func, insert, inspect, select

from autocompress import __version__
from autocompress.errors import StorageError
from autocompress.store.connection import reading, writing
from autocompress.store.tables import metadata, schema_version

Step = Callable[[Connection], None]

FIRST_VERSION = 1


def _add_estimated_speedups(connection: Connection) -> None:
    """Version 2: candidates of studies for another device have an estimated speedup and no measured one."""
    for name in ("estimated_speedup", "estimated_speedup_low", "estimated_speedup_high"):
        connection.exec_driver_sql(f"ALTER TABLE autocompress_candidates ADD COLUMN {name} FLOAT(53)")
    connection.exec_driver_sql("ALTER TABLE autocompress_candidates ADD COLUMN latency_status TEXT")


def _add_compressed_sizes(connection: Connection) -> None:
    """Version 3: candidates also have the size of their file compressed for transfer."""
    connection.exec_driver_sql("ALTER TABLE autocompress_candidates ADD COLUMN deflate_bytes BIGINT")


# Schema version -> what leads to it from the version before.
STEPS: Mapping[int, Step] = {2: _add_estimated_speedups, 3: _add_compressed_sizes}

# Tables that make a database one of Optuna's.
_OPTUNA_TABLES = frozenset({"studies", "trials", "version_info"})


def newest(steps: Mapping[int, Step] = STEPS) -> int:
    """The schema version that ``steps`` lead to."""
    return max((FIRST_VERSION, *steps))


def current_version(engine: Engine, place: object) -> int:
    """Schema version of the database; 0 when it holds none of our tables yet.

    Raises:
        StorageError: when the database holds something else, or cannot be read.
    """
    with reading(engine, place) as connection:
        version = _version(connection)
        tables = set(inspect(connection).get_table_names())
    if version == 0 and tables and not tables >= _OPTUNA_TABLES:
        raise StorageError(f"{place} is a database of another program; give another --storage")
    return version


def migrate(engine: Engine, place: object, steps: Mapping[int, Step] = STEPS) -> int:
    """Creates or updates our tables; returns the schema version that is now there.

    Raises:
        StorageError: when the schema is newer, or the database cannot be written to.
    """
    check_not_newer(current_version(engine, place), place, steps)
    while True:
        with writing(engine, place) as connection:
            version = _version(connection)  # again: another process may have been first
            if version >= newest(steps):
                # SQLite grants a write lock on a read-only file; only a statement that could write finds out.
                connection.execute(delete(schema_version).where(false()))
                return version
            if version == 0:
                metadata.create_all(connection)
                applied = range(FIRST_VERSION, newest(steps) + 1)
            else:
                steps[version + 1](connection)
                applied = range(version + 1, version + 2)
            now = datetime.now(UTC)
            connection.execute(
                insert(schema_version),
                [{"version": v, "applied": now, "package_version": __version__} for v in applied],
            )


def check_not_newer(version: int, place: object, steps: Mapping[int, Step] = STEPS) -> None:
    """Refuses a schema that this version cannot know.

    Raises:
        StorageError: when ``version`` is newer.
    """
    if version > newest(steps):
        raise StorageError(
            f"{place} was written by a newer autocompress (schema {version}, this version knows {newest(steps)}); "
            "update autocompress, or give another --storage"
        )


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table(schema_version.name):
        return 0
    return connection.execute(select(func.max(schema_version.c.version))).scalar_one() or 0

"""Opening the study database: found, checked and brought up to date before anything else happens."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import Engine

from autocompress.errors import StorageError
from autocompress.store.connection import make_engine
from autocompress.store.location import Location, locate
from autocompress.store.migrations import check_not_newer, current_version, migrate, newest
from autocompress.store.store import Store

LOCK_WAIT_S = 10.0


def open_store(url_or_path: str | os.PathLike[str], *, create: bool = True, lock_wait_s: float = LOCK_WAIT_S) -> Store:
    """Opens the study database.

    Args:
        url_or_path: a file, or a database URL.
        create: make the database if it is not there, and be ready to write; False for reading what is there.
        lock_wait_s: how long to wait for another writer before giving up.

    Raises:
        StorageError: when it is not there (``create=False``), locked, damaged, newer, read-only (``create=True``) or
            no study database.
    """
    location = locate(url_or_path)
    if location.path is not None:
        _prepare_file(location.path, create)
    engine = make_engine(location, lock_wait_s)
    if create:
        migrate(engine, location)
    else:
        _require_studies(engine, location)
    return Store(location, engine, lock_wait_s)


_SQLITE_MAGIC = b"SQLite format 3\0"


def _prepare_file(path: Path, create: bool) -> None:
    """Makes the folder of a new database; finds that there is none to read, or that the file is another thing."""
    if path.exists():
        _check_magic(path)
        return
    if not create:
        raise StorageError(f"there is no study database at {path}; give the --storage that the run printed")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder of {path} cannot be made ({error.strerror}); give another --storage") from error


def _check_magic(path: Path) -> None:
    # SQLite takes a file of a few bytes for an empty database and would write over it.
    try:
        with path.open("rb") as file:
            start = file.read(len(_SQLITE_MAGIC))
    except OSError as error:
        raise StorageError(f"{path} cannot be opened ({error.strerror}); give another --storage") from error
    if start and start != _SQLITE_MAGIC:
        raise StorageError(f"{path} is not a study database (no SQLite file); give another --storage")


def _require_studies(engine: Engine, location: Location) -> None:
    """Makes sure that there is something to read, without writing unless the schema is older."""
    version = current_version(engine, location)
    if version == 0:
        raise StorageError(f"{location} holds no studies of autocompress; give the --storage that the run printed")
    check_not_newer(version, location)
    if version < newest():
        migrate(engine, location)

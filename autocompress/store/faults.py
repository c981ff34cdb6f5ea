"""The one place where errors of the database and of Optuna become ``StorageError``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from autocompress.errors import StorageError

# Primary SQLite result codes (sqlite.org/rescode.html) -> what to tell the user.
_SQLITE_SENTENCES = {
    sqlite3.SQLITE_BUSY: "{place} is locked by another program; wait for it to end, or give another --storage",
    sqlite3.SQLITE_LOCKED: "{place} is locked by another program; wait for it to end, or give another --storage",
    sqlite3.SQLITE_NOTADB: "{place} is not a study database (no SQLite file); give another --storage",
    sqlite3.SQLITE_CORRUPT: "{place} is damaged; restore it from a copy, or give another --storage",
    sqlite3.SQLITE_READONLY: "{place} cannot be written to; make it writable, or give another --storage",
    sqlite3.SQLITE_PERM: "{place} cannot be written to; make it writable, or give another --storage",
    sqlite3.SQLITE_CANTOPEN: "{place} cannot be opened; check that its folder exists and is writable",
    sqlite3.SQLITE_FULL: "{place} cannot grow because the disk is full; free some space, or give another --storage",
    sqlite3.SQLITE_IOERR: "{place} cannot be read or written because of a disk error; check the disk",
}


@contextmanager
def storage_errors(place: object) -> Iterator[None]:
    """Turns database errors raised inside into ``StorageError`` naming ``place``.

    Raises:
        StorageError: in their stead, one sentence.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise StorageError(_sentence(error, place)) from error
    except Exception as error:
        # Optuna wraps SQLAlchemy's errors; it is not imported here because reads do not need it.
        if type(error).__module__ == "optuna.exceptions":
            raise StorageError(_sentence(error, place)) from error
        raise


def _sentence(error: BaseException, place: object) -> str:
    code = _sqlite_code(error)
    if code in _SQLITE_SENTENCES:
        return _SQLITE_SENTENCES[code].format(place=place)
    return f"{place} could not be used: {_first_line(error)}"


def _sqlite_code(error: BaseException) -> int | None:
    """Primary result code of the SQLite error behind ``error``."""
    cause: BaseException | None = error
    while cause is not None:
        driver = cause.orig if isinstance(cause, DBAPIError) else cause
        code = getattr(driver, "sqlite_errorcode", None)
        if isinstance(code, int):
            return code & 0xFF
        cause = cause.__cause__
    return None


def _first_line(error: BaseException) -> str:
    driver = error.orig if isinstance(error, DBAPIError) else error
    text = str(driver).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")

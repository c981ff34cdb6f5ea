"""Where the study database is: a file path or a database URL, checked before anything opens it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from autocompress.errors import StorageError

DEFAULT_FILE_NAME = "autocompress.db"

# Optuna formats URLs with str.format, so braces cannot be part of one.
_UNUSABLE_IN_PATHS = "{}\0"


@dataclass(frozen=True)
class Location:
    """A database that may or may not exist yet.

    Attributes:
        url: what SQLAlchemy and Optuna open.
        path: the file, for SQLite; None for a server.
    """

    url: URL
    path: Path | None

    @property
    def url_text(self) -> str:
        """The URL with its password, as ``optuna.load_study`` takes it."""
        return self.url.render_as_string(hide_password=False)

    def __str__(self) -> str:
        """The file, or the URL without its password; for messages."""
        return str(self.path) if self.path else self.url.render_as_string(hide_password=True)


def default_storage_path(folder: str | os.PathLike[str]) -> Path:
    """The one SQLite file that holds the studies of a folder."""
    return Path(folder) / DEFAULT_FILE_NAME


def locate(url_or_path: str | os.PathLike[str]) -> Location:
    """Reads a path (``runs/autocompress.db``) or a URL (``sqlite:///runs.db``, ``postgresql://...``).

    Raises:
        StorageError: when it is neither, or names a place that cannot hold a database.
    """
    text = os.fspath(url_or_path)
    if not text.strip():
        raise StorageError("the storage is empty; give a file such as autocompress.db")
    if "://" not in text:
        return _file_location(Path(text))
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError) as error:
        raise StorageError("the storage is no database URL; give a file, or a URL such as sqlite:///runs.db") from error
    if backend != "sqlite":
        return Location(url, None)
    if not url.database or url.database == ":memory:":
        raise StorageError(
            "the storage is in memory, where Optuna cannot share it; give a file such as autocompress.db"
        )
    return _file_location(Path(url.database))


def _file_location(path: Path) -> Location:
    path = Path(os.path.abspath(path))
    bad = next((c for c in _UNUSABLE_IN_PATHS if c in str(path)), None)
    if bad is not None:
        raise StorageError(f"the storage path {str(path)!r} contains {bad!r}, which Optuna cannot open; rename it")
    if path.is_dir():
        raise StorageError(f"{path} is a folder; give a file such as {path / DEFAULT_FILE_NAME}")
    return Location(URL.create("sqlite", database=str(path)), path)

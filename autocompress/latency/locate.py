"""Where tables and predictors are: those that ship, those of this user, and one that was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autocompress.errors import TableError
from autocompress.latency.header import TableHeader, header_differences, is_header, refuse_newer
from autocompress.latency.reading import is_beside_a_table
from autocompress.latency.row import parse_row
from autocompress.latency.table import LatencyTable

_CACHE_VARIABLE = "AUTOCOMPRESS_CACHE"
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class LocatedTable:
    """A table that was found.

    Attributes:
        path: its file.
        table: its records.
        notices: sentences about what does not fit; empty for a match.
    """

    path: Path
    table: LatencyTable
    notices: tuple[str, ...] = ()


def shipped_folder(name: str) -> Path:
    """A data folder that ships ("latency_tables", "predictors"): in the wheel, or in the repository."""
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def user_cache() -> Path:
    """Where this user's own tables are: $AUTOCOMPRESS_CACHE, else autocompress in $XDG_CACHE_HOME or ~/.cache."""
    chosen = os.environ.get(_CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "autocompress"


def cached_table_path(header: TableHeader) -> Path:
    """Where the user's own table for this device, runtime, version and thread count is, or will be."""
    return user_cache() / "latency_tables" / f"{header.stem}.jsonl"


def shipped_tables() -> Iterator[Path]:
    """The tables that ship, by name."""
    yield from tables_in(shipped_folder("latency_tables"))


def own_tables() -> Iterator[Path]:
    """This user's own tables, by name."""
    yield from tables_in(user_cache() / "latency_tables")


def tables_in(folder: Path) -> Iterator[Path]:
    """The tables in a folder, by name."""
    for path in sorted(folder.glob("*.jsonl")):
        if not is_beside_a_table(path):
            yield path


def shipped_table(header: TableHeader) -> LocatedTable | None:
    """The table that ships for exactly this device, runtime, version and thread count; None if there is none.

    Raises:
        TableError: when it is damaged.
    """
    for path in shipped_tables():
        if not header_differences(header, read_header(path)):
            return LocatedTable(path, LatencyTable.load(path))
    return None


def forced_table(path: str | Path, header: TableHeader) -> LocatedTable:
    """A table the user insists on; what does not fit becomes notices.

    Raises:
        TableError: when it cannot be read.
    """
    path = Path(path)
    table = LatencyTable.load(path)
    notices = tuple(
        f"latency table {path.name}: {difference}; estimates may be wrong here"
        for difference in header_differences(header, table.header)
    )
    return LocatedTable(path, table, notices)


def read_header(path: Path) -> TableHeader:
    """The header of a table, without its records.

    Raises:
        TableError: when it has none.
    """
    try:
        with path.open("rb") as file:
            row = parse_row(file.readline())
    except OSError as error:
        raise TableError(f"cannot read the latency table {path.name}: {error.strerror or error}") from error
    if row is None or not is_header(row):
        raise TableError(f"{path.name} is not a latency table: its first line is no header")
    refuse_newer(row, path.name)
    try:
        return TableHeader.from_row(row)
    except ValueError as error:
        raise TableError(f"{path.name} has a malformed header ({error}); copy it again, or profile again") from error


def find_table(table: str | Path) -> Path:
    """A table by path, or by the stem of its name: one that ships before one of this user's own.

    Raises:
        TableError: when there is none.
    """
    path = Path(table)
    if path.is_file():
        return path
    for known in (*shipped_tables(), *own_tables()):
        if str(table) in (known.stem, known.name):
            return known
    raise TableError(f"there is no latency table {str(table)!r}; see 'autocompress table list', or give a path")


def own_predictors_folder(header: TableHeader) -> Path | None:
    """The folder of predictors that the user trained for tables with this header; None if there is none."""
    return _with_card(user_cache() / "predictors" / header.stem)


def shipped_predictors_folder(header: TableHeader) -> Path | None:
    """The folder of predictors that ships for tables with this header; None if there is none."""
    return _with_card(shipped_folder("predictors") / header.stem)


def other_predictors(runtime: str) -> list[Path]:
    """Folders of predictors that ship for a runtime, whatever the device, version and thread count, by name."""
    cards = sorted(shipped_folder("predictors").glob(f"*-{runtime}-*/card.json"))
    return [card.parent for card in cards]


def _with_card(folder: Path) -> Path | None:
    return folder if (folder / "card.json").is_file() else None

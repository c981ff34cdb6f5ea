"""What to do with a user's own table that turns out to be damaged: lose nothing, go on with what is readable."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from autocompress.errors import StorageError
from autocompress.latency.header import TableHeader
from autocompress.latency.reading import Reading
from autocompress.latency.table import LatencyTable


def rescued(reading: Reading, header: TableHeader, notice: Callable[[str], None]) -> LatencyTable:
    """The readable part of a damaged table; the file as it was is kept beside it, and the table is written anew.

    Without a readable header only the file's name can tell where the records come from.  Where it does not, none of
    them counts.

    Args:
        reading: with faults; its header, if any, agrees with ``header``.
        header: what the table is about.
        notice: told what happened, in one sentence.
    """
    path = reading.path
    if reading.header is not None or path.stem == header.stem:
        table = LatencyTable(reading.header or header, reading.records.values(), reading.models)
        kept = f"its {len(table)} readable operators and {len(table.models)} whole models count"
    else:
        table = LatencyTable(header)
        kept = "nothing in it counts, since nothing says which device it is about"
    others = f", and {len(reading.faults) - 1} more faults" if len(reading.faults) > 1 else ""
    damage = f"{path.name} is damaged ({reading.faults[0]}{others}): {kept}"
    try:
        aside = set_aside(path)
        table.save(path)
    except (OSError, StorageError):  # nobody can write there: the file stays as it is
        notice(damage)
    else:
        notice(f"{damage}, and the damaged file is kept as {aside.name}")
    return table


def set_aside(path: Path) -> Path:
    """Gives a file a second, free name beside it, so that the first one can be used again.

    Raises:
        OSError: when the folder cannot be written to.
    """
    names = itertools.chain([f"{path.name}.set-aside"], (f"{path.name}.set-aside-{n}" for n in itertools.count(2)))
    for name in names:
        target = path.with_name(name)
        try:
            os.link(path, target)
        except FileExistsError:
            continue
        except OSError:  # a file system without links
            if target.exists():
                continue
            shutil.copy2(path, target)
        return target
    raise AssertionError("names never end")

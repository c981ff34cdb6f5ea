"""Rows on disk that outlive a crash: JSON lines, appended one at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class KeptRows:
    """A file of rows.

    Args:
        path: created where missing; half a line at its end, left by a process that died, is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: list[Row] = []
        if path.exists():
            text = path.read_bytes()
            whole = text[: text.rfind(b"\n") + 1]
            self.rows = [json.loads(line) for line in whole.splitlines()]
            if len(whole) != len(text):
                path.write_bytes(whole)

    def append(self, row: Row) -> None:
        """Puts one row on disk at once."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)

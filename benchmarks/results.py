"""Writing results as JSON with where they come from, and showing them as a table."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Column = tuple[str, str, str]
"""Heading, dotted path into a result, format."""


def provenance(benchmark: str) -> dict[str, Any]:
    """What a reader needs to judge the numbers: when, and on what."""
    import onnxruntime

    return {
        "benchmark": benchmark,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), "onnxruntime": onnxruntime.__version__},
    }


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Writes the file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(document, indent=2) + "\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def print_table(columns: Sequence[Column], results: Sequence[dict[str, Any]]) -> None:
    """Prints one line per result; what is missing shows as a dash, a problem as a line below."""
    rows = [[heading for heading, _, _ in columns]]
    rows += [[cell(result, path, form) for _, path, form in columns] for result in results]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *rest = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        print("  ".join([first, *(text.rstrip().rjust(len(text)) for text in rest)]))
    for result in results:
        if result.get("problem"):
            print(f"{result['name']}: {result['problem']}")


def cell(result: dict[str, Any], path: str, form: str) -> str:
    """One value of a result as the table shows it; a dash where it is missing."""
    value: Any = result
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return "-" if value is None else form.format(value)


def _processor() -> str:
    """Name of the processor as Linux gives it, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

"""Short digests by which kept files are told from ones that were made in another way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import autocompress

_PACKAGE = Path(autocompress.__file__).parent
_HERE = Path(__file__).parent
_DIGITS = 10


def digest(*parts: str) -> str:
    """Of some texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]


@cache
def package_sources(*parts: str) -> str:
    """Of the Python files of parts of the package ("passes", "graph/signature.py", ...)."""
    files: list[Path] = []
    for part in parts:
        path = _PACKAGE / part
        files += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return _of_files(files)


@cache
def benchmark_sources(*names: str) -> str:
    """Of files beside this one."""
    return _of_files(_HERE / name for name in names)


def file_sha256(path: Path) -> str:
    """SHA-256 of one file, in full."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _of_files(files: Iterable[Path]) -> str:
    return digest(*(f"{path.name} {file_sha256(path)}" for path in files))

"""What must not change while the test set is measured."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from latency_models.digests import digest, file_sha256

from autocompress.errors import TableError


class Frozen:
    """Files by hash.

    Args:
        files: tables, whole models and forests, before anything of the test set is measured.

    Attributes:
        hashes: file -> SHA-256.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.hashes = {path: file_sha256(path) for path in files}

    @property
    def digest(self) -> str:
        """Of all of them together."""
        return digest(*(f"{path.name} {value}" for path, value in self.hashes.items()))

    def check(self) -> None:
        """Refuses to go on with other files than the run began with.

        Raises:
            TableError: naming the file that changed.
        """
        for path, expected in self.hashes.items():
            if not path.exists() or file_sha256(path) != expected:
                raise TableError(
                    f"{path.name} changed while the test set was being measured, so the results say nothing; "
                    "start the benchmark again"
                )

    def rows(self) -> dict[str, str]:
        """Folder and name of each file -> SHA-256, for the report."""
        return {f"{path.parent.name}/{path.name}": value for path, value in self.hashes.items()}

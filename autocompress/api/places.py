"""Where the data folders lie: inside an installed package, or in the repository of an editable install."""

from __future__ import annotations

from pathlib import Path

from autocompress.errors import AutocompressError


def data_folder(name: str) -> Path:
    """The folder ``latency_tables``, ``predictors`` or ``search_spaces``.

    Raises:
        AutocompressError: when the installation lacks it.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_data" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise AutocompressError(f"the installation lacks its folder {name}; install autocompress again")

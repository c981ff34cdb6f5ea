"""Versions of the packages that decide a result, for reports."""

from __future__ import annotations

import platform
from importlib import metadata

_PACKAGES = ("onnx", "onnxruntime", "openvino", "optuna", "scikit-learn", "numpy", "scipy", "sqlalchemy", "torch")


def installed_versions() -> dict[str, str]:
    """Package -> version, of those that are installed, with Python and autocompress."""
    from autocompress import __version__

    versions = {"autocompress": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions

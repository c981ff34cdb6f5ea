"""autocompress: find a smaller, faster network that was measured to be so on your device."""

from __future__ import annotations

import os

# ONNX Runtime sends telemetry unless told otherwise before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

_EXPORTS = {
    "compress": "autocompress.api",
    "profile": "autocompress.api",
    "estimate": "autocompress.api",
    "measure": "autocompress.api",
    "inspect": "autocompress.api",
    "sensitivity": "autocompress.api",
    "apply_recipe": "autocompress.api",
    "RunConfig": "autocompress.config",
    "AutocompressError": "autocompress.errors",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> object:
    # Imports are lazy so that `autocompress --help` answers at once.
    if name in _EXPORTS:
        import importlib

        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'autocompress' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
